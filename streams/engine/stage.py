"""One stage of the chain at work: a Faust agent that takes a chunk of one partition through the state protocol.

The order below is the guarantee (at least once, exact for the reader by event ids); a crash between any two steps
replays into the same result:

1. decode every record; what cannot be decoded or used is refused, not dropped
2. load state rows as the step asks for them, and let the step fold the chunk
3. publish the outputs, wait for the broker
4. publish the dead letters, wait
5. publish the changed rows to the changelog, wait
6. write the changed rows and the changelog offset to the local store, in one batch
7. acknowledge the chunk: from here its offset may be committed

No exception leaves the agent: an unknown one ends the process, because Faust would commit past it.
"""

import logging
import os
import time
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any

from schemas import telemetry
from schemas.codec import decode, encode_model
from schemas.dead_letter import refused
from schemas.errors import RecordError
from schemas.topics import DEAD_LETTERS
from streams.contract import Output, Record, Refuse, Rows, Step
from streams.engine.outbox import Outbox
from streams.engine.store import Store, fenced

log = logging.getLogger(__name__)
EXIT = 70
BAD_RECORD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Stage:
    """A step with its store and its way out. `store` is None for a step without state."""

    def __init__(self, step: Step, store: Callable[[], Store] | None, outbox: Callable[[], Outbox]) -> None:
        self.step = step
        self._store = store
        self._outbox = outbox
        self._published = telemetry.RECORDS.labels(step.name, "published")
        self._read = telemetry.RECORDS.labels(step.name, "read")
        self._seconds = telemetry.CHUNK.labels(step.name)
        self._age = telemetry.EVENT_AGE.labels(step.name)

    async def run(self, stream: Any) -> None:
        """The agent body: chunks one after another, each acknowledged only when all of it is done."""
        try:
            events: AsyncIterable[Any] = stream.noack().events()
            async for event in events:
                with self._seconds.time():
                    await self.take(event.value, event.message.partition)
                event.message.done = True  # 7
                event.ack()
        except Exception:
            log.critical("stage %s cannot go on; the process ends and loses nothing", self.step.name, exc_info=True)
            os._exit(EXIT)

    async def take(self, chunk: Sequence[Any], partition: int) -> None:
        """Steps 1 to 6 for one chunk of Kafka records."""
        letters: list[Output] = []

        def refuse(record: Record, error: RecordError) -> None:
            letters.append(self._letter(chunk[record.position], record, error))

        records = self._decode(chunk, refuse)  # 1
        rows, outputs = self._fold(records, partition, refuse)  # 2
        published = await self._outbox().publish(outputs)  # 3
        await self._outbox().publish(letters)  # 4
        fence = chunk[-1].offset
        changes = [(key, fenced(fence, row)) for key, row in rows.changes()]
        if changes and self._store:
            offset = await self._outbox().publish_rows(self.step.changelog, partition, changes)  # 5
            self._store().write(partition, changes, offset)  # 6
        self._count(len(chunk), published, records)

    def _decode(self, chunk: Sequence[Any], refuse: Refuse) -> list[Record]:
        records = []
        for index, raw in enumerate(chunk):
            try:
                name, fields = decode(raw.value)
                records.append(Record(name, fields, raw.value, index))
            except RecordError as error:
                refuse(Record("", {}, raw.value or b"", index), error)
        return records

    def _fold(self, records: list[Record], partition: int, refuse: Refuse, *, again: bool = True) -> tuple[Rows, list[Output]]:
        """The step over the chunk. Where it fails, the records that fail by themselves are refused, once, and it starts over.

        Steps are pure and rows are thrown away on failure, so trying costs nothing but time.
        """
        rows = self._rows(partition)
        try:
            return rows, self.step.process(records, rows, refuse)
        except BAD_RECORD:
            if not again:
                raise
            usable = [record for record in records if self._usable(record, partition, refuse)]
            return self._fold(usable, partition, refuse, again=False)

    def _usable(self, record: Record, partition: int, refuse: Refuse) -> bool:
        if record.name == "tick":
            return True
        try:
            self.step.process([record], self._rows(partition), lambda record, error: None)
        except BAD_RECORD as error:
            refuse(record, RecordError("unprocessable", f"{self.step.name} failed with {type(error).__name__}"))
            return False
        return True

    def _rows(self, partition: int) -> Rows:
        if self._store is None:
            return Rows(lambda key: None)
        store = self._store()
        return Rows(lambda key: store.load(partition, key), lambda: store.scan(partition))

    def _letter(self, raw: Any, record: Record, error: RecordError) -> Output:
        telemetry.DEAD_LETTERS.labels(self.step.name, error.reason).inc()
        letter = refused(
            error,
            raw.value or b"",
            stage=self.step.name,
            origin=f"{raw.topic}/{raw.partition}/{raw.offset}",
            source=record.fields.get("source", ""),
            connector=record.fields.get("connector", ""),
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
        )
        return Output(DEAD_LETTERS, 0, letter.letter_id.bytes, encode_model("dead_letter", letter))

    def _count(self, read: int, published: int, records: Sequence[Record]) -> None:
        self._read.inc(read)
        self._published.inc(published)
        received = records[-1].fields.get("received_at") if records else None
        if received is not None:
            self._age.observe(max(0.0, time.time() - received / 1000))
