"""TCP proxy on loopback between a sink and ClickHouse that applies named network faults to inserts, one fault per insert.

It detects three parts of the native protocol: the query INSERT INTO a table, the block after it (which starts with the name of
the first column), and the empty block at the end, after which the server stores. It connects to the server after the first
bytes of the client.
"""

import asyncio
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

READ_BYTES = 65_536
KEPT_BYTES = 200  # end of the previous read: a query, a name or an end may span two reads
END_OF_DATA = bytes.fromhex("02 00 01 00 02 ff ff ff ff 00 00 00")
END_OF_STREAM = b"\x05"
ABORT = struct.pack("ii", 1, 0)
RESET, KILL = "reset", "kill"
"""Faults in the middle of the block."""
DROP_REPLY, DELAY_REPLY, HANG, KILL_AFTER = "drop reply", "delay reply", "hang", "kill after"
"""Faults after the server has stored the block."""

CLOSE_SECONDS = 0.1  # until the loop has closed aborted sockets


class Proxy:
    """Proxy that applies `faults` to inserts into `table`, in turn, and lists them in `met`. All other bytes pass."""

    def __init__(self, server: int, table: str, delay: float, kill: Callable[[], None]) -> None:
        self.port = 0
        self.faults: deque[str] = deque()
        self.met: list[str] = []
        self.kill = kill
        self.delay = delay
        self._server = server
        self._query = re.compile(rf"INSERT INTO touchline_store\.{table} \((\w+)".encode())
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._ends: list[asyncio.StreamWriter] = []

    def plan(self, *faults: str) -> None:
        """Set the faults of the next inserts."""
        self.met.clear()
        self.faults.extend(faults)

    def release(self) -> None:
        """Continue hanging inserts."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def serve(self, listening: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._handle_client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        async with server:
            await stop.wait()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()
        await asyncio.sleep(CLOSE_SECONDS)

    async def _handle_client(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            hello = await client.read(READ_BYTES)
            if hello:
                replies, server = await asyncio.open_connection("127.0.0.1", self._server)
                self._ends += [back, server]
                server.write(hello)
                await Connection(self, client, back, replies, server).run()
        back.close()

    def fault(self) -> str:
        """Return the fault of the insert whose block starts now."""
        fault = self.faults.popleft() if self.faults else ""
        if fault:
            self.met.append(fault)
        return fault

    def find_insert(self, seen: bytes) -> re.Match[bytes] | None:
        """Return the insert query in these bytes; its group is the first column."""
        return self._query.search(seen)

    async def wait_for_release(self) -> None:
        await self._released.wait()


class Connection:
    """Connection of one client: the start of its block, the fault of that block, and whether the block is complete."""

    def __init__(self, proxy: Proxy, *ends: Any) -> None:
        self.proxy = proxy
        self.client, self.back, self.replies, self.server = ends
        self.seen = b""
        self.begin = b""
        self.fault = ""
        self.complete = False

    async def run(self) -> None:
        ways: Iterable[Coroutine[Any, Any, None]] = (self._up(), self._down())
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.server.close()

    async def _up(self) -> None:
        while data := await self.client.read(READ_BYTES):
            self._detect(data)
            if self.fault in (RESET, KILL):
                self.server.write(data[: len(data) // 2])
                await self.server.drain()
                if self.fault == KILL:
                    await asyncio.to_thread(self.proxy.kill)
                return self._reset()
            self.server.write(data)
            await self.server.drain()
        return None

    def _detect(self, data: bytes) -> None:
        """Detect the query, the name of the first column (after its length) and the end of the block in this read."""
        self.seen += data
        if asked := self.proxy.find_insert(self.seen):
            self.begin, self.seen = bytes([len(asked[1])]) + asked[1], self.seen[asked.end() :]
        if self.begin and self.begin in self.seen:
            self.seen = self.seen.partition(self.begin)[2]
            self.begin, self.fault, self.complete = b"", self.proxy.fault(), False
        self.complete = self.complete or self.seen.endswith(END_OF_DATA)
        self.seen = self.seen[-KEPT_BYTES:]

    async def _down(self) -> None:
        while data := await self.replies.read(READ_BYTES):
            if self.fault and self.complete and await self._withhold(data):
                return
            if not (self.complete and self.fault in (DROP_REPLY, KILL_AFTER)):
                self.back.write(data)
                await self.back.drain()

    async def _withhold(self, data: bytes) -> bool:
        """Apply the fault to a reply; return True if the client must not receive it."""
        if self.fault == DELAY_REPLY:
            await asyncio.sleep(self.proxy.delay)
        if self.fault == HANG:
            await self.proxy.wait_for_release()
        if self.fault in (DROP_REPLY, KILL_AFTER):
            if self.fault == KILL_AFTER and data.endswith(END_OF_STREAM):
                await asyncio.to_thread(self.proxy.kill)
            return data.endswith(END_OF_STREAM)
        self.fault = ""
        return False

    def _reset(self) -> None:
        """Reset both connections instead of closing them."""
        for end in (self.back, self.server):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            end.transport.abort()


@contextmanager
def proxy(server: int, table: str, delay: float = 3.0, kill: Callable[[], None] = lambda: None) -> Iterator[Proxy]:
    """Run a proxy to the ClickHouse at port `server` in a thread; `kill` ends that ClickHouse."""
    made = Proxy(server, table, delay, kill)
    listening, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=made._loop.run_until_complete, args=(made.serve(listening, stop),))
    thread.start()
    try:
        assert listening.wait(5)
        yield made
    finally:
        made._loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        made._loop.run_until_complete(made._loop.shutdown_default_executor())
        made._loop.close()
