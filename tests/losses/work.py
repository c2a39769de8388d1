"""Work on a record, the same for both engines: fold it, then send it. And the agent bodies that do it."""

import asyncio
from typing import Any

import faust

from schemas.wire.codec import decode, encode
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output, Record, Refuse, Rows
from streams.engine.stage import Stage

TOPIC = "losses"


def value(number: int) -> bytes:
    """Return a record that both engines can read; its `kind` is the number."""
    fields = {"kind": str(number), "value": "v", "customer_id": b"c" * 16, "rule": "r", "event_id": b"e" * 16, "at": 1}
    return encode("edge", fields)


class Work:
    """Work that folds and sends every record. Subclasses fail or wait."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.dead_letters: list[int] = []

    def fold(self, number: int) -> None:
        """Process the record, like a step."""

    async def send(self, number: int) -> None:
        """Send the record. Ours returns after the acknowledgement, stock Faust once the record is buffered."""
        self.sent.append(number)

    async def open(self, app: Any) -> None:
        """Prepare the work before the worker starts."""

    async def close(self) -> None:
        """Clean up after the worker has ended."""


class Waiting(Work):
    """Work in which the send of one record waits for the gate, and blocks the agent meanwhile."""

    def __init__(self, at: int = 0) -> None:
        super().__init__()
        self.at, self.gate = at, asyncio.Event()

    async def send(self, number: int) -> None:
        if number == self.at:
            await self.gate.wait()
        await super().send(number)


class Codec(faust.Codec):
    """Codec of our records for stock Faust. It returns the number of the record."""

    def _loads(self, s: bytes) -> Any:
        return int(decode(s)[1]["kind"])


class Forward:
    """The same work as a step with one output per record."""

    name, topics, table, changelog, row_group_prefix_bytes, max_row_bytes = "forward", (TOPIC,), "", "", 0, 0

    def __init__(self, work: Work) -> None:
        self.work = work

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs = []
        for record in records:
            self.work.fold(int(record.fields["kind"]))
            outputs.append(Output("out", 0, b"k", record.value))
        return outputs


class FakeProducer:
    """Producer that lets the work send the outputs, and records the offsets of dead letters."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def publish(self, outputs: list[Output]) -> int:
        for output in outputs:
            fields = decode(output.value)[1]
            if output.topic == DEAD_LETTERS:
                self.work.dead_letters.append(fields["offset"])
            else:
                await self.work.send(int(fields["kind"]))
        return len(outputs)


async def _plain(stream: Any, work: Work) -> None:
    async for number in stream:
        work.fold(number)
        await work.send(number)


async def _take(stream: Any, work: Work) -> None:
    async for numbers in stream.take(3, within=5):
        for number in numbers:
            work.fold(number)
        for number in numbers:
            await work.send(number)


async def _noack(stream: Any, work: Work) -> None:
    async for event in stream.noack().events():
        work.fold(event.value)
        await work.send(event.value)
        event.ack()


async def _noack_take(stream: Any, work: Work) -> None:
    async for events in stream.noack_take(3, within=5):
        for event in events:
            work.fold(event.value)
        for event in events:
            await work.send(event.value)
            event.ack()


async def _stage(stream: Any, work: Work) -> None:
    producer: Any = FakeProducer(work)
    step: Any = Forward(work)
    await Stage(step, None, lambda: producer).run(stream)


BODIES = {"stock": _plain, "stock take": _take, "stock noack": _noack, "stock noack_take": _noack_take, "ours": _stage}
