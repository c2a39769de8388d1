"""A TLS port in front of a plaintext port on loopback: ClickHouse with TLS, though the local library has no TLS port."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.harness.tls_certificates import Certificates

READ_BYTES = 65_536


@contextmanager
def tls_port(port: int, certificates: Certificates, *, requires_client: bool) -> Iterator[int]:
    """A TLS port that forwards to `port`, until the block ends; `requires_client` asks for a certificate of the CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    if requires_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
    listening: asyncio.Queue[int] = asyncio.Queue()
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while block := await reader.read(READ_BYTES):
                writer.write(block)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(READ_BYTES)
        if not first:  # a connection without a login ends the local ClickHouse library
            writer.close()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        upstream_writer.write(first)
        await asyncio.gather(forward(reader, upstream_writer), forward(upstream_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        listening.put_nowait(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    loop.set_exception_handler(lambda *_: None)  # handshakes that a test lets fail
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield listening.get_nowait()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
