"""A TCP proxy on loopback between a sink and ClickHouse, which does to inserts what networks do: named faults, one insert each.

It knows three moments of the native protocol: the query that says INSERT INTO a table, the block that the client sends after that
(it begins with the name of the first column), and the empty block that ends it: only then the server stores. The server is only
connected to once a client has spoken: a connection that says nothing ends the ClickHouse of the local stack.
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

READ = 65_536
KEPT = 200  # bytes of what was read before: a query, a name or an end may stand across two reads
END_OF_DATA = bytes.fromhex("02 00 01 00 02 ff ff ff ff 00 00 00")
END_OF_STREAM = b"\x05"
ABORT = struct.pack("ii", 1, 0)
RESET, KILL = "reset", "kill"
"""In the middle of the block."""
DROP_REPLY, DELAY_REPLY, HANG, KILL_AFTER = "drop reply", "delay reply", "hang", "kill after"
"""When the server has stored it."""

CLOSE_SECONDS = 0.1  # for the loop to let go of aborted sockets


class Proxy:
    """Inserts into `table` meet the `faults`, in turn, and `met` tells which they met; everything else passes."""

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
        """What the next inserts meet."""
        self.met.clear()
        self.faults.extend(faults)

    def release(self) -> None:
        """Let go on what hangs."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def serve(self, listening: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
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

    async def _connected(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            hello = await client.read(READ)
            if hello:
                replies, server = await asyncio.open_connection("127.0.0.1", self._server)
                self._ends += [back, server]
                server.write(hello)
                await Connection(self, client, back, replies, server).run()
        back.close()

    def fault(self) -> str:
        """The fault that the insert whose block comes now meets."""
        fault = self.faults.popleft() if self.faults else ""
        if fault:
            self.met.append(fault)
        return fault

    def asked(self, seen: bytes) -> re.Match[bytes] | None:
        """The insert that is asked for here; its group is the first column."""
        return self._query.search(seen)

    async def released(self) -> None:
        await self._released.wait()


class Connection:
    """One client: bytes up and down, how the block begins that it asked to insert, that block's fault, whether it is complete."""

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
        while data := await self.client.read(READ):
            self._look(data)
            if self.fault in (RESET, KILL):
                self.server.write(data[: len(data) // 2])
                await self.server.drain()
                if self.fault == KILL:
                    await asyncio.to_thread(self.proxy.kill)
                return self._reset()
            self.server.write(data)
            await self.server.drain()
        return None

    def _look(self, data: bytes) -> None:
        """Notice the query, the first column's name (with its length before it), and the end, whichever came with this read."""
        self.seen += data
        if asked := self.proxy.asked(self.seen):
            self.begin, self.seen = bytes([len(asked[1])]) + asked[1], self.seen[asked.end() :]
        if self.begin and self.begin in self.seen:
            self.seen = self.seen.partition(self.begin)[2]
            self.begin, self.fault, self.complete = b"", self.proxy.fault(), False
        self.complete = self.complete or self.seen.endswith(END_OF_DATA)
        self.seen = self.seen[-KEPT:]

    async def _down(self) -> None:
        while data := await self.replies.read(READ):
            if self.fault and self.complete and await self._withheld(data):
                return
            if not (self.complete and self.fault in (DROP_REPLY, KILL_AFTER)):
                self.back.write(data)
                await self.back.drain()

    async def _withheld(self, data: bytes) -> bool:
        """What the fault does to a reply; True where the client gets none any more."""
        if self.fault == DELAY_REPLY:
            await asyncio.sleep(self.proxy.delay)
        if self.fault == HANG:
            await self.proxy.released()
        if self.fault in (DROP_REPLY, KILL_AFTER):
            if self.fault == KILL_AFTER and data.endswith(END_OF_STREAM):
                await asyncio.to_thread(self.proxy.kill)
            return data.endswith(END_OF_STREAM)
        self.fault = ""
        return False

    def _reset(self) -> None:
        """Both ends see a reset instead of an end."""
        for end in (self.back, self.server):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            end.transport.abort()


@contextmanager
def proxy(server: int, table: str, delay: float = 3.0, kill: Callable[[], None] = lambda: None) -> Iterator[Proxy]:
    """A proxy in a thread of its own, to the ClickHouse at port `server`; `kill` ends that ClickHouse."""
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
