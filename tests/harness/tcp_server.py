"""A TCP server on loopback whose answers a test writes byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def tcp_server(serve: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """Run `serve` for each connection, one after the other; its second argument counts the connections from 0."""

    def accept() -> None:
        for number in range(1_000_000):
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            with connected, suppress(OSError):
                serve(connected, number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
