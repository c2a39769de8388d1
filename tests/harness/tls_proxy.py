"""A TLS port in front of a plaintext port on loopback: ClickHouse with TLS, though the local library has no TLS port.

It uses threads: asyncio closes a failed handshake without the alert that real servers send.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select

from tests.harness.tls_certificates import Certificates

READ_BYTES = 65_536


@contextmanager
def tls_port(port: int, certificates: Certificates, *, requires_client: bool) -> Iterator[int]:
    """Run a TLS port that forwards to `port`; `requires_client` rejects clients without a certificate of the CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    if requires_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Connect to the server after the first message."""
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
        first = client.recv(READ_BYTES)
        if first:
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(first)
                _forward(client, server)


def _forward(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Copy both directions in one thread, because two threads must not use one TLS connection at the same time."""
    while True:
        readable = [client] if client.pending() else select([client, server], [], [])[0]
        for source in readable:
            block = source.recv(READ_BYTES)
            if not block:
                return
            (server if source is client else client).sendall(block)
