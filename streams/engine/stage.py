"""Stage: the Faust agent of one step, which processes each chunk of a partition in a fixed order.

The order is the guarantee: at least once, and exactly once for readers, who deduplicate by id. A crash between any two steps
leads to a replay with the same result:

1. decode every record; a record that cannot be decoded or used becomes a dead letter
2. load the state rows that the step needs, and let the step process the chunk. A record whose output or state row is too large
   to publish becomes a dead letter (`limits.py`)
3. publish the outputs and wait for the broker
4. publish the dead letters and wait
5. publish the changed rows to the changelog and wait
6. write the changed rows and the changelog offset to the local store, in one batch. If another worker wrote to the
   changelog in the meantime, this worker was frozen and replaced: it ends
7. acknowledge the chunk: from now on its offset may be committed

No exception leaves the agent. An unknown exception ends the process, because Faust would commit past it. After the restart,
the stage processes the chunks that were in flight in isolation: it cuts a chunk that fails again into halves, until single
records are left, and makes a dead letter of each record that still fails (`crashes.py`). A later copy of such a record becomes a
dead letter at once. Errors of Kafka, of the disk or of
state that newer software wrote are no fault of a record: they end the process also in isolation.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from msgspec import MsgspecError

from schemas.errors import FatalError, RecordError
from schemas.records.dead_letter import make_record_dead_letter
from schemas.service import telemetry
from schemas.service.exit_codes import FATAL
from schemas.wire.codec import decode, encode_model, extract_source_and_connector, extract_touchpoint
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output, Record, Rows, StateError, Step
from streams.engine.crashes import ChunkRange, CrashLog
from streams.engine.limits import Change, describe_excess, measure_largest_row
from streams.engine.producer import Producer
from streams.engine.store import Store, encode_stored_row

log = logging.getLogger(__name__)
MAX_CHUNKS_IN_FLIGHT = 8
Refusal = tuple[Record, RecordError]
BAD_RECORD = (ArithmeticError, AttributeError, LookupError, MsgspecError, RecordError, TypeError, ValueError)
REFUSED_BY_SIZE = (MessageSizeTooLargeError, RecordListTooLargeError)


class Result(NamedTuple):
    """Result of a chunk before anything is published."""

    records: list[Record]
    outputs: list[Output]
    dead_letters: list[Output]
    reasons: list[str]
    changes: list[Change]


class Stage:
    """A step with its store and its producer. `store` is None for a step without state.

    `isolated_producer` opens the producer for chunks in isolation. It continues after Kafka refused a record for its size.
    """

    def __init__(
        self,
        step: Step,
        store: Callable[[], Store] | None,
        producer: Callable[[], Producer],
        crashes: CrashLog | None = None,
        isolated_producer: Callable[[], Awaitable[Producer]] | None = None,
    ) -> None:
        self.step = step
        self._store = store
        self._producer = producer
        self._crashes = crashes or CrashLog()
        self._isolated_producer = isolated_producer
        self._largest_row = 0
        self._published = telemetry.RECORDS.labels(step.name, "published")
        self._read = telemetry.RECORDS.labels(step.name, "read")
        self._seconds = telemetry.CHUNK.labels(step.name)
        self._age = telemetry.EVENT_AGE.labels(step.name)

    async def run(self, stream: Any) -> None:
        """Run the agent: process the chunks of one partition in order, and those of different partitions concurrently.

        With `MAX_CHUNKS_IN_FLIGHT` chunks in flight, the stage reads no more of the stream. Its queue fills and fetching stops.
        """
        newest: dict[int, asyncio.Task[None]] = {}
        free = asyncio.Semaphore(MAX_CHUNKS_IN_FLIGHT)
        events: AsyncIterable[Any] = stream.noack().events()
        try:
            async for event in events:
                await free.acquire()
                partition = event.message.partition
                newest[partition] = asyncio.create_task(self._process_after(newest.get(partition), event, free))
        finally:
            for task in newest.values():
                task.cancel()

    async def _process_after(self, before: asyncio.Task[None] | None, event: Any, free: asyncio.Semaphore) -> None:
        """Process one chunk after the previous one of its partition."""
        chunk, partition = event.value, event.message.partition
        place = ChunkRange(chunk[0].topic, partition, chunk[0].offset, chunk[-1].offset)
        self._crashes.begin(place, self.step.name)
        try:
            if before is not None:
                await before
            with self._seconds.time():
                await self._process(chunk, partition, place)
            event.message.is_done = True  # 7
            event.ack()
            free.release()
        except Exception:
            self._crashes.record()
            log.critical(
                "stage %s failed; the process ends, a restart continues at the last commit", self.step.name, exc_info=True
            )
            os._exit(FATAL)
        finally:
            self._crashes.in_flight.discard(place)

    async def _process(self, chunk: Sequence[Any], partition: int, place: ChunkRange) -> None:
        """Run steps 1 to 6, in isolation for a chunk of an earlier crash and for copies of records that ended a worker."""
        if self._crashes.covers(place):
            await self.process_isolated(chunk, partition)
            return
        try:
            await self.process_chunk(chunk, partition)
        except Exception:
            if not self._is_known(chunk, partition):
                raise
            await self.process_isolated(chunk, partition)

    def _is_known(self, chunk: Sequence[Any], partition: int) -> bool:
        """Return whether copies of records that ended a worker make this chunk fail, and no other records do."""
        failing = list(self._find_failing(chunk, partition)) if self._crashes.knows_any() else []
        return bool(failing) and all(self._crashes.knows(raw.value) for raw in failing)

    def _find_failing(self, chunk: Sequence[Any], partition: int) -> Iterator[Any]:
        try:
            self._compute(chunk, partition)
        except StateError:
            raise
        except Exception:  # noqa: BLE001 - any exception of a record
            middle = len(chunk) // 2
            if middle == 0:
                yield chunk[0]
            else:
                yield from self._find_failing(chunk[:middle], partition)
                yield from self._find_failing(chunk[middle:], partition)

    async def process_chunk(self, chunk: Sequence[Any], partition: int) -> None:
        """Run steps 1 to 6 for one chunk of Kafka records."""
        await self._publish(self._compute(chunk, partition), chunk, partition, self._producer())

    async def process_isolated(self, chunk: Sequence[Any], partition: int) -> None:
        """Run steps 1 to 6 for a chunk of an earlier crash. Each record that still fails alone becomes a dead letter."""
        async with self._crashes.isolation:
            producer = await self._isolated_producer() if self._isolated_producer else self._producer()
            await self._isolate(chunk, partition, producer)

    async def _isolate(self, chunk: Sequence[Any], partition: int, producer: Producer) -> None:
        try:
            result = self._compute(chunk, partition)
        except StateError:
            raise
        except Exception as error:  # noqa: BLE001 - no exception of a record may end the process twice
            reason = RecordError("crash", f"{self.step.name} failed with {type(error).__name__} and ended a worker")
        else:
            try:
                await self._publish(result, chunk, partition, producer)
            except REFUSED_BY_SIZE as error:
                reason = RecordError("too_large", f"Kafka refused an output or a state row with {type(error).__name__}")
            else:
                return
        if len(chunk) == 1:
            log.error("stage %s makes a dead letter of %s/%d offset %d: %s", *self._name_record(chunk[0]), reason.detail)
            await producer.publish([self._dead_letter(chunk[0], reason)])
            telemetry.DEAD_LETTERS.labels(self.step.name, reason.reason).inc()
            self._crashes.remember(chunk[0].value)
            return
        middle = len(chunk) // 2
        await self._isolate(chunk[:middle], partition, producer)
        await self._isolate(chunk[middle:], partition, producer)

    def _name_record(self, raw: Any) -> tuple[str, str, int, int]:
        return self.step.name, raw.topic, raw.partition, raw.offset

    def _compute(self, chunk: Sequence[Any], partition: int) -> Result:
        """Run steps 1 and 2, which have no effect."""
        refusals: list[Refusal] = []
        records = self._decode(chunk, refusals)  # 1
        changes, outputs = self._fold(records, partition, refusals)  # 2
        dead_letters = [self._dead_letter(chunk[record.position], error) for record, error in refusals]
        return Result(records, outputs, dead_letters, [error.reason for _, error in refusals], changes)

    async def _publish(self, result: Result, chunk: Sequence[Any], partition: int, producer: Producer) -> None:
        """Run steps 3 to 6."""
        published = await producer.publish(result.outputs)  # 3
        await producer.publish(result.dead_letters)  # 4
        for reason in result.reasons:
            telemetry.DEAD_LETTERS.labels(self.step.name, reason).inc()
        if result.changes and self._store:
            rows = self._encode_rows(result.changes, partition, chunk[-1].offset)
            first, last = await producer.publish_rows(self.step.changelog, partition, rows, self.step.row_group_prefix_bytes)  # 5
            if not self._store().is_next(partition, first):
                raise FatalError(
                    f"another worker wrote state of {self.step.name} partition {partition}: this worker has lost the partition"
                )
            self._store().write(partition, rows, last)  # 6
            self._measure_rows(result.changes)
        self._count(len(chunk), published, result.records)

    def _encode_rows(self, changes: Sequence[Change], partition: int, offset: int) -> list[Change]:
        """Return the rows with their last applied offset, which never decreases: recovery keeps the row with the higher one.

        A row of a chunk that a crash broke off may be ahead of this chunk, if the chunks begin at other offsets now.
        """
        assert self._store is not None
        store = self._store()
        if store.recovered_offset(partition) <= offset:
            return [(key, encode_stored_row(offset, row)) for key, row in changes]
        stored = store.load(partition, [key for key, _ in changes])
        return [
            (key, encode_stored_row(max(offset, -1 if held is None else held[0]), row))
            for (key, row), held in zip(changes, stored, strict=True)
        ]

    def _decode(self, chunk: Sequence[Any], refusals: list[Refusal]) -> list[Record]:
        records = []
        for position, raw in enumerate(chunk):
            try:
                name, fields = decode(raw.value)
                records.append(Record(name, fields, raw.value, position, raw.offset, raw.timestamp))
            except RecordError as error:
                refusals.append((Record("", {}, raw.value or b"", position, raw.offset), error))
        return records

    def _fold(self, records: list[Record], partition: int, refusals: list[Refusal]) -> tuple[list[Change], list[Output]]:
        """Process the chunk. If the step fails or something is too large, process its records one by one.

        Records that fail alone become dead letters. Steps are pure, and the rows of a failed attempt are discarded, so an
        attempt has no effect.
        """
        refused: list[Refusal] = []
        rows = self._rows(partition, {})
        try:
            outputs = self.step.process(records, rows, lambda record, error: refused.append((record, error)))
            changes = list(rows.changes())
        except BAD_RECORD:
            return self._fold_one_by_one(records, partition, refusals)
        if describe_excess(self.step, outputs, changes):
            return self._fold_one_by_one(records, partition, refusals)
        refusals += refused
        return changes, outputs

    def _fold_one_by_one(
        self, records: list[Record], partition: int, refusals: list[Refusal]
    ) -> tuple[list[Change], list[Output]]:
        changed: dict[bytes, bytes] = {}
        outputs: list[Output] = []
        for record in records:
            rows = self._rows(partition, changed)
            try:
                new_outputs = self.step.process([record], rows, lambda record, error: refusals.append((record, error)))
                changes = dict(rows.changes())
                self._check_sizes(new_outputs, changes, changed)
            except RecordError as error:
                refusals.append((record, error))
            except BAD_RECORD as error:
                reason = RecordError("unprocessable", f"{self.step.name} failed with {type(error).__name__}")
                refusals.append((record, reason))
            else:
                outputs += new_outputs
                for key, row in changes.items():
                    changed.pop(key, None)  # a step may rely on the order of the last changes
                    changed[key] = row
        return list(changed.items()), outputs

    def _check_sizes(self, outputs: list[Output], changes: dict[bytes, bytes], changed: dict[bytes, bytes]) -> None:
        """Check one record. Rows that earlier records of the chunk changed share a batch with its rows of the same group."""
        prefix = self.step.row_group_prefix_bytes
        groups = {key[:prefix] for key in changes} if prefix else set()
        together = {key: row for key, row in changed.items() if key[:prefix] in groups} if prefix else {}
        if excess := describe_excess(self.step, outputs, list({**together, **changes}.items())):
            raise RecordError("too_large", excess)

    def _rows(self, partition: int, changed: dict[bytes, bytes]) -> Rows:
        """Return the rows of the store, overlaid with the changes of earlier records of this chunk."""
        if self._store is None:
            return Rows(lambda keys: [None] * len(keys))
        store = self._store()

        def load(keys: list[bytes]) -> list[tuple[int, bytes] | None]:
            return [_overlay_row(stored, changed.get(key)) for key, stored in zip(keys, store.load(partition, keys), strict=True)]

        return Rows(load if changed else partial(store.load, partition), lambda: store.scan(partition))

    def _dead_letter(self, raw: Any, error: RecordError) -> Output:
        source, connector = extract_source_and_connector(raw.value)
        dead_letter = make_record_dead_letter(error, raw, stage=self.step.name, source=source, connector=connector)
        return Output(DEAD_LETTERS, 0, dead_letter.letter_id.bytes, encode_model("dead_letter", dead_letter))

    def _measure_rows(self, changes: Sequence[Change]) -> None:
        largest = measure_largest_row(changes)
        if largest > self._largest_row:
            self._largest_row = largest
            telemetry.STATE_ROW.labels(self.step.name).set(largest)

    def _count(self, read: int, published: int, records: Sequence[Record]) -> None:
        self._read.inc(read)
        self._published.inc(published)
        if not records:
            return
        with suppress(RecordError):  # the stage that needs the broken source record makes it a dead letter
            received = extract_touchpoint(records[-1].name, records[-1].fields).get("received_at")
            if received is not None:
                self._age.observe(max(0.0, time.time() - received / 1000))


def _overlay_row(stored: tuple[int, bytes] | None, changed: bytes | None) -> tuple[int, bytes] | None:
    """Return a stored row with the change of an earlier record. Its last applied offset stays; an empty row is a deleted one."""
    if changed is None:
        return stored
    return (stored[0] if stored else -1, changed) if changed else None
