"""One table at work, with its own consumer group, ClickHouse connection and threads, so that it delays no other table.

The order of steps is the guarantee: nothing is lost, views show each row once, and the table holds it once while ClickHouse
remembers the token.

1. poll a chunk of records;
2. decode it into rows (pure);
3. commit the intent: for each partition the first offset of the chunk, with the ranges of the whole chunk as metadata;
4. insert the rows as one block under the token of the intent, and repeat the same bytes until the outcome is known;
5. publish the dead letters of records that cannot be decoded or stored, and wait for their acknowledgement;
6. commit the next offset of each partition, without metadata.

During steps 3 to 6 of a chunk, the next chunk is at steps 1 and 2, which have no effect outside. It is discarded when partitions
move or the chunk before it starts again.

The new owner of a partition with an intent in its metadata starts with that chunk, at step 2. A crash between any two steps
therefore repeats the chunk as the same block and the same dead letters.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.errors import ConfigError, FatalError
from schemas.records.dead_letter import DeadLetter
from schemas.service.connection import KafkaSettings
from schemas.service.telemetry import DEAD_LETTERS, EVENT_AGE, LAG, LAG_SECONDS, RECORDS, SINK_RETRIES
from schemas.wire.codec import encode_model
from schemas.wire.topics import DEAD_LETTERS as DEAD_LETTER_TOPIC
from sinks import kafka
from sinks.chunk import Chunk, transform
from sinks.clickhouse import ClickHouse, UnexpectedError
from sinks.contract import Table
from sinks.intent import Intent
from sinks.kafka import Records
from sinks.ownership import Ownership
from sinks.retry import StoppedError, write

CLOSE_SECONDS = 3.0
POLL_SECONDS = kafka.POLL_MS / 1000
PAUSE_SECONDS = 30.0
AGE_SAMPLE_ROWS = 16  # the age of one row in 16 is observed; observing each row cost a fortieth of the sinks' time
log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """Records of one poll with their size in bytes, their rows, and the generation of the group in which they were polled."""

    records: Records
    size_bytes: int
    chunk: Chunk
    generation: int


class PartitionsLostError(Exception):
    """A rebalance took the partitions; their next owner stores the chunk."""


class Runner:
    """Sink of one table. `busy_at` is the monotonic time of its last commit; `started` is true once it reads its topic."""

    def __init__(self, table: Table, settings: KafkaSettings, producer: AIOKafkaProducer, stop: threading.Event) -> None:
        self.table = table
        self.busy_at = time.monotonic()
        self.started = False
        self._settings = settings
        self._consumer: AIOKafkaConsumer = kafka.make_consumer(settings, f"touchline-sink-{table.name}")
        self._ownership = Ownership(self._consumer, self.abandon)
        self._producer = producer
        self._stop = stop
        self._give_up = threading.Event()
        self._client = ClickHouse()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix=table.stage)
        self._ahead: Decoded | None = None
        self._oldest_timestamp: float | None = None
        self._paused_until = 0.0
        LAG_SECONDS.labels(table.stage).set_function(
            lambda: time.time() - self._oldest_timestamp if self._oldest_timestamp else 0.0
        )

    async def run(self) -> None:
        """Store chunks until `stop` is set. Raises ConfigError (the topic or table is missing), FatalError, KafkaError."""
        try:
            if not await kafka.start(self._consumer, self._settings, self._stop):
                return
            if not await kafka.has_topic(self._consumer, self.table.topic):
                raise ConfigError(f"Kafka has no topic {self.table.topic}: run `touchline migrate`")
            self._consumer.subscribe([self.table.topic], listener=self._ownership)
            self.started = True
            log.info("sink %s started", self.table.name)
            while not self._stop.is_set():
                await self._store_next()
            log.info("sink %s stopped", self.table.name)
        except StoppedError:
            log.warning("sink %s stopped while ClickHouse was unavailable; its chunk was not committed", self.table.name)
        finally:
            self._threads.shutdown(wait=False)
            await kafka.close_within(self._consumer.stop(), CLOSE_SECONDS)

    async def waiting(self) -> int:
        """Return the number of records that the group has not committed, in all partitions of the topic. Raises KafkaError."""
        numbers = self._consumer.partitions_for_topic(self.table.topic) or ()
        ends = await self._consumer.end_offsets([TopicPartition(self.table.topic, number) for number in numbers])
        behind = {partition: end - (await self._consumer.committed(partition) or 0) for partition, end in ends.items()}
        LAG.labels(self.table.stage).set(sum(behind.get(partition, 0) for partition in self._consumer.assignment()))
        return sum(behind.values())

    def give_up(self) -> None:
        """Stop repeating inserts that fail from now on."""
        self._give_up.set()

    def abandon(self) -> None:
        """Abort the current insert without a commit."""
        self._give_up.set()
        self._client.abort()

    async def _store_next(self) -> None:
        """Take over assigned partitions, then store the next chunk and read ahead during the insert."""
        if time.monotonic() < self._paused_until:
            await asyncio.sleep(POLL_SECONDS)
            return
        if self._ownership.is_assigned:
            await self._run_while_owned(self._take_over())
        decoded, self._ahead = self._ahead or await self._poll(), None
        if decoded and self._ownership.is_current:
            ahead = asyncio.create_task(self._read_ahead(decoded))
            try:
                await self._run_while_owned(self._store_new(decoded))
                self._ahead = await ahead
            finally:
                ahead.cancel()

    async def _read_ahead(self, decoded: Decoded) -> Decoded | None:
        """Return the next chunk; None during a chunk of few, large records, because memory cannot hold two of these."""
        return await self._poll() if decoded.size_bytes < 2 * kafka.CHUNK_BYTES else None

    async def _poll(self) -> Decoded | None:
        """Do steps 1 and 2 for the next chunk. Return None if there are no records within half a second."""
        generation = self._ownership.generation
        records = await kafka.poll(self._consumer)
        return await self._decode(records, generation) if records else None

    async def _decode(self, records: Records, generation: int) -> Decoded:
        """Do step 2 in the order of partitions and offsets."""
        flat = [record for partition in sorted(records) for record in records[partition]]
        run = asyncio.get_running_loop().run_in_executor
        size_bytes = sum(map(kafka.size, flat))
        return Decoded(records, size_bytes, await run(self._threads, transform, self.table, flat), generation)

    async def _run_while_owned(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._ownership.run(work)
        except PartitionsLostError:
            log.warning("sink %s lost its partitions; their next owner stores the chunk", self.table.name)
            self._ownership.mark_lost()
        except UnexpectedError as error:
            SINK_RETRIES.labels("unexpected").inc()
            log.warning(
                "sink %s waits %.0f s and starts its chunk again; other tables continue: %s",
                self.table.name,
                PAUSE_SECONDS,
                error,
            )
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._ownership.retake()

    async def _take_over(self) -> None:
        """Finish the chunks that another owner started in the assigned partitions, and continue where they end."""
        self._discard_ahead()
        started: dict[str, list[TopicPartition]] = {}
        for partition, committed in (await kafka.fetch_committed(self._consumer)).items():
            self._consumer.seek(partition, committed.offset)
            if committed.metadata:
                started.setdefault(committed.metadata, []).append(partition)
        for metadata, partitions in started.items():
            intent = Intent.read(metadata)
            log.info("sink %s finishes a started chunk: %s", self.table.name, intent)
            if intent.version != self.table.version:
                log.warning("sink %s: another version started the chunk, so the table may store it twice", self.table.name)
            records = await kafka.read_ranges(self._settings, self.table.topic, intent.ranges)
            await self._store(await self._decode(records, self._ownership.generation), intent, partitions)
            for partition in partitions:
                self._consumer.seek(partition, intent.ranges[partition.partition][1])
        self._ownership.start_reading()

    def _discard_ahead(self) -> None:
        """Discard the chunk read ahead. Within the same generation, seek back to its first offsets."""
        ahead, self._ahead = self._ahead, None
        if ahead and ahead.generation == self._ownership.generation:
            for partition, of in ahead.records.items():
                self._consumer.seek(partition, of[0].offset)

    async def _store_new(self, decoded: Decoded) -> None:
        """Do steps 3 to 6 for a new chunk."""
        ranges = {partition.partition: (of[0].offset, of[-1].offset + 1) for partition, of in decoded.records.items()}
        await self._store(decoded, Intent(self.table.version, token_hex(8), ranges))

    async def _store(self, decoded: Decoded, intent: Intent, started: Sequence[TopicPartition] = ()) -> None:
        """Do steps 3 to 6 for one chunk. A chunk of another owner skips step 3 and commits only `started`."""
        records, chunk = decoded.records, decoded.chunk
        self._give_up = threading.Event()
        self._oldest_timestamp = min((record.timestamp / 1000 for of in records.values() for record in of), default=None)
        if chunk.rows and not started:
            await self._commit_intent(intent)
        run = asyncio.get_running_loop().run_in_executor
        refused = await run(self._threads, write, self.table, self._client, chunk, intent.token(self.table), self._give_up)
        dead_letters = chunk.dead_letters + refused
        await self._publish(dead_letters)
        await self._commit({partition: intent.ranges[partition.partition][1] for partition in started or records})
        self._count(chunk, dead_letters)
        self._update_lag(records)

    async def _commit_intent(self, intent: Intent) -> None:
        """Do step 3. Kafka refuses the commit of a former owner, so it cannot start a chunk of a lost partition."""
        await self._commit_offsets({number: (first, str(intent)) for number, (first, _) in intent.ranges.items()})

    async def _publish(self, dead_letters: list[DeadLetter]) -> None:
        """Do step 5. A dead letter that cannot be published is fatal, because the record would be lost."""
        try:
            for letter in dead_letters:
                value = encode_model("dead_letter", letter)
                await self._producer.send_and_wait(DEAD_LETTER_TOPIC, value, key=letter.letter_id.bytes)
        except KafkaError as error:
            raise FatalError(
                f"sink {self.table.name} cannot publish a dead letter ({type(error).__name__}): check Kafka and restart the sink"
            ) from error

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Do step 6."""
        await self._commit_offsets({partition.partition: (offset, "") for partition, offset in offsets.items()})

    async def _commit_offsets(self, offsets: dict[int, tuple[int, str]]) -> None:
        try:
            await self._consumer.commit({TopicPartition(self.table.topic, number): each for number, each in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            raise PartitionsLostError from error

    def _update_lag(self, records: Records) -> None:
        """Update the lag of this table from the records that are left to read."""
        mine = {partition: of for partition, of in records.items() if partition in self._consumer.assignment()}
        left = sum((self._consumer.highwater(partition) or 0) - of[-1].offset - 1 for partition, of in mine.items())
        LAG.labels(self.table.stage).set(max(left, 0))
        newest = max((of[-1].timestamp / 1000 for of in records.values()), default=None)
        self._oldest_timestamp = newest if left > 0 else None
        self.busy_at = time.monotonic()

    def _count(self, chunk: Chunk, dead_letters: list[DeadLetter]) -> None:
        stage = self.table.stage
        RECORDS.labels(stage, "stored").inc(len(chunk.rows) + len(chunk.dead_letters) - len(dead_letters))
        RECORDS.labels(stage, "skipped").inc(chunk.skipped)
        RECORDS.labels(stage, "dead_letter").inc(len(dead_letters))
        for letter in dead_letters:
            DEAD_LETTERS.labels(stage, letter.reason).inc()
        if "received_at" in self.table.columns:
            received, now, age = self.table.columns.index("received_at"), time.time(), EVENT_AGE.labels("stored")
            for row in chunk.rows[::AGE_SAMPLE_ROWS]:
                age.observe(max(now - row[received] / 1000, 0))
