"""One stage of the chain at work: a Faust agent that takes a chunk of one partition through the state protocol.

The order below is the guarantee (at least once, exact for the reader by event ids); a crash between any two steps
replays into the same result:

1. decode every record; what cannot be decoded or used is refused, not dropped
2. load state rows as the step asks for them, and let the step fold the chunk
3. publish the outputs, wait for the broker
4. publish the dead letters, wait
5. publish the changed rows to the changelog, wait
6. write the changed rows and the changelog offset to the local store, in one batch, unless somebody else wrote the
   changelog since: then this worker was frozen and replaced, and ends
7. acknowledge the chunk: from here its offset may be committed

No exception leaves the agent: an unknown one ends the process, because Faust would commit past it.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from schemas.errors import FatalError, RecordError
from schemas.records.dead_letter import make_record_dead_letter
from schemas.service import telemetry
from schemas.wire.codec import decode, encode_model, extract_source_and_connector, extract_touchpoint
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output, Record, Rows, Step
from streams.engine.producer import Producer
from streams.engine.store import Store, encode_stored_row

log = logging.getLogger(__name__)
EXIT = 70
MAX_CHUNKS_IN_FLIGHT = 8
Refusal = tuple[Record, RecordError]
Change = tuple[bytes, bytes]
BAD_RECORD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Stage:
    """A step with its store and its way out. `store` is None for a step without state."""

    def __init__(self, step: Step, store: Callable[[], Store] | None, producer: Callable[[], Producer]) -> None:
        self.step = step
        self._store = store
        self._producer = producer
        self._published = telemetry.RECORDS.labels(step.name, "published")
        self._read = telemetry.RECORDS.labels(step.name, "read")
        self._seconds = telemetry.CHUNK.labels(step.name)
        self._age = telemetry.EVENT_AGE.labels(step.name)

    async def run(self, stream: Any) -> None:
        """The agent body: chunks of one partition one after another, the waits of different partitions side by side.

        At most `MAX_CHUNKS_IN_FLIGHT` chunks are in hand; then the stream is not asked for more, its queue fills and fetching stops.
        """
        newest: dict[int, asyncio.Task[None]] = {}
        free = asyncio.Semaphore(MAX_CHUNKS_IN_FLIGHT)
        events: AsyncIterable[Any] = stream.noack().events()
        try:
            async for event in events:
                await free.acquire()
                partition = event.message.partition
                newest[partition] = asyncio.create_task(self._follow(newest.get(partition), event, free))
        finally:
            for task in newest.values():
                task.cancel()

    async def _follow(self, before: asyncio.Task[None] | None, event: Any, free: asyncio.Semaphore) -> None:
        """One chunk, once the one before it is done."""
        try:
            if before is not None:
                await before
            with self._seconds.time():
                await self.take(event.value, event.message.partition)
            event.message.done = True  # 7
            event.ack()
            free.release()
        except Exception:
            log.critical("stage %s cannot go on; the process ends and loses nothing", self.step.name, exc_info=True)
            os._exit(EXIT)

    async def take(self, chunk: Sequence[Any], partition: int) -> None:
        """Steps 1 to 6 for one chunk of Kafka records."""
        refusals: list[Refusal] = []
        records = self._decode(chunk, refusals)  # 1
        changes, outputs = self._fold(records, partition, refusals)  # 2
        published = await self._producer().publish(outputs)  # 3
        letters = [self._letter(chunk[record.position], error) for record, error in refusals]
        await self._producer().publish(letters)  # 4
        if changes and self._store:
            rows = [(key, encode_stored_row(chunk[-1].offset, row)) for key, row in changes]
            first, last = await self._producer().publish_rows(
                self.step.changelog, partition, rows, self.step.row_group_prefix_bytes
            )  # 5
            if not self._store().follows(partition, first):
                raise FatalError(
                    f"another worker wrote state of {self.step.name} partition {partition}: it has the partition now"
                )
            self._store().write(partition, rows, last)  # 6
        self._count(len(chunk), published, records)

    def _decode(self, chunk: Sequence[Any], refusals: list[Refusal]) -> list[Record]:
        records = []
        for position, raw in enumerate(chunk):
            try:
                name, fields = decode(raw.value)
                records.append(Record(name, fields, raw.value, position, raw.offset))
            except RecordError as error:
                refusals.append((Record("", {}, raw.value or b"", position, raw.offset), error))
        return records

    def _fold(self, records: list[Record], partition: int, refusals: list[Refusal]) -> tuple[list[Change], list[Output]]:
        """The step over the chunk; where it fails, over one record after another, and the ones that fail are refused.

        Steps are pure and rows of a failed try are thrown away, so trying costs nothing but time.
        """
        refused_here: list[Refusal] = []
        rows = self._rows(partition, {})
        try:
            outputs = self.step.process(records, rows, lambda record, error: refused_here.append((record, error)))
        except BAD_RECORD:
            return self._one_by_one(records, partition, refusals)
        refusals += refused_here
        return list(rows.changes()), outputs

    def _one_by_one(self, records: list[Record], partition: int, refusals: list[Refusal]) -> tuple[list[Change], list[Output]]:
        changed: dict[bytes, bytes] = {}
        outputs: list[Output] = []
        for record in records:
            rows = self._rows(partition, changed)
            try:
                found = self.step.process([record], rows, lambda record, error: refusals.append((record, error)))
            except BAD_RECORD as error:
                reason = RecordError("unprocessable", f"{self.step.name} failed with {type(error).__name__}")
                refusals.append((record, reason))
            else:
                outputs += found
                changed.update(rows.changes())
        return list(changed.items()), outputs

    def _rows(self, partition: int, changed: dict[bytes, bytes]) -> Rows:
        """Rows as the store has them, but for what `changed` holds from the records of this chunk that came before."""
        if self._store is None:
            return Rows(lambda keys: [None] * len(keys))
        store = self._store()

        def load(keys: list[bytes]) -> list[tuple[int, bytes] | None]:
            return [overlaid(stored, changed.get(key)) for key, stored in zip(keys, store.load(partition, keys), strict=True)]

        return Rows(load if changed else partial(store.load, partition), lambda: store.scan(partition))

    def _letter(self, raw: Any, error: RecordError) -> Output:
        telemetry.DEAD_LETTERS.labels(self.step.name, error.reason).inc()
        source, connector = extract_source_and_connector(raw.value)
        letter = make_record_dead_letter(error, raw, stage=self.step.name, source=source, connector=connector)
        return Output(DEAD_LETTERS, 0, letter.letter_id.bytes, encode_model("dead_letter", letter))

    def _count(self, read: int, published: int, records: Sequence[Record]) -> None:
        self._read.inc(read)
        self._published.inc(published)
        if not records:
            return
        with suppress(RecordError):  # a source's record that is broken inside: whoever needs it refuses it
            received = extract_touchpoint(records[-1].name, records[-1].fields).get("received_at")
            if received is not None:
                self._age.observe(max(0.0, time.time() - received / 1000))


def overlaid(stored: tuple[int, bytes] | None, changed: bytes | None) -> tuple[int, bytes] | None:
    """A stored row as an earlier record of the chunk left it: its fence stays, an empty row is one that was dropped."""
    if changed is None:
        return stored
    return (stored[0] if stored else -1, changed) if changed else None
