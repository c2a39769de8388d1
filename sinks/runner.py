"""One table at work, with a consumer group, a ClickHouse connection and a thread of its own: none can hold up another.

The order of steps is the guarantee: nothing lost, once in the views, and once in the table while the server remembers the token.

1. poll a chunk of records;
2. decode it into rows (pure);
3. commit the intent: of each partition the offset where the chunk begins, with the ranges of the whole chunk as metadata;
4. insert the rows as one block under the token of the intent, again with the same bytes until the outcome is known;
5. publish the dead letters of records that could not be decoded or stored, and wait until Kafka has them all;
6. commit the next offset of each partition, without metadata.

While a chunk is at steps 3 to 6, the next one is at 1 and 2, which leave no trace: it is forgotten where partitions move or the
chunk before it begins anew.

Who takes a partition over with an intent in its metadata begins with just that chunk, at step 2. A crash between any two steps
replays the chunk into the same block and the same dead letters.
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

LEAVE_WITHIN = 3.0
POLL_SECONDS = kafka.POLL_MS / 1000
REST = 30.0
SAMPLE = 16  # of so many touchpoints the age of one is told: telling that of each took the sinks a fortieth of their time
log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """The records of one poll and their bytes, what became of them, and the generation of the group in which they were polled."""

    records: Records
    volume: int
    chunk: Chunk
    generation: int


class LostError(Exception):
    """The group has moved on: the chunk in hand is its next owner's."""


class Runner:
    """`busy_at` is the monotonic time at which the last chunk was committed, `started` whether it has begun to read."""

    def __init__(self, table: Table, settings: KafkaSettings, letters: AIOKafkaProducer, stop: threading.Event) -> None:
        self.table = table
        self.busy_at = time.monotonic()
        self.started = False
        self._settings = settings
        self._consumer: AIOKafkaConsumer = kafka.consumer(settings, f"touchline-sink-{table.name}")
        self._ownership = Ownership(self._consumer, self.abandon)
        self._letters = letters
        self._stop = stop
        self._give_up = threading.Event()
        self._client = ClickHouse()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix=table.stage)
        self._ahead: Decoded | None = None
        self._behind: float | None = None
        self._rests_until = 0.0
        LAG_SECONDS.labels(table.stage).set_function(lambda: time.time() - self._behind if self._behind else 0.0)

    async def run(self) -> None:
        """Store chunks until told to stop. Raises ConfigError (the topic or table is missing), FatalError, KafkaError."""
        if not await kafka.start(self._consumer, self._settings, self._stop):
            return
        try:
            if not await kafka.has_topic(self._consumer, self.table.topic):
                raise ConfigError(f"Kafka has no topic {self.table.topic}: run `touchline migrate`")
            self._consumer.subscribe([self.table.topic], listener=self._ownership)
            self.started = True
            log.info("sink %s started", self.table.name)
            while not self._stop.is_set():
                await self._turn()
            log.info("sink %s stopped", self.table.name)
        except StoppedError:
            log.warning("sink %s stopped while ClickHouse was away; the chunk in hand was not committed", self.table.name)
        finally:
            self._threads.shutdown(wait=False)
            await kafka.closed(self._consumer.stop(), LEAVE_WITHIN)

    async def waiting(self) -> int:
        """Records of the topic that the group has not committed, whoever reads them. Raises KafkaError."""
        numbers = self._consumer.partitions_for_topic(self.table.topic) or ()
        ends = await self._consumer.end_offsets([TopicPartition(self.table.topic, number) for number in numbers])
        behind = {partition: end - (await self._consumer.committed(partition) or 0) for partition, end in ends.items()}
        LAG.labels(self.table.stage).set(sum(behind.get(partition, 0) for partition in self._consumer.assignment()))
        return sum(behind.values())

    def give_up(self) -> None:
        """Try no insert again that fails from now on."""
        self._give_up.set()

    def abandon(self) -> None:
        """Break off an insert that hangs; nothing of it is committed."""
        self._give_up.set()
        self._client.break_off()

    async def _turn(self) -> None:
        """Take over what was assigned, then store what comes, and read ahead meanwhile."""
        if time.monotonic() < self._rests_until:
            await asyncio.sleep(POLL_SECONDS)
            return
        if self._ownership.assigned:
            await self._while_ours(self._take_over())
        decoded, self._ahead = self._ahead or await self._next(), None
        if decoded and self._ownership.current:
            ahead = asyncio.create_task(self._beside(decoded))
            try:
                await self._while_ours(self._begin(decoded))
                self._ahead = await ahead
            finally:
                ahead.cancel()

    async def _beside(self, decoded: Decoded) -> Decoded | None:
        """What comes next; nothing beside a chunk of few, large records, of which memory cannot hold two."""
        return await self._next() if decoded.volume < 2 * kafka.CHUNK_BYTES else None

    async def _next(self) -> Decoded | None:
        """Steps 1 and 2 for what comes next, nothing after half a second."""
        generation = self._ownership.generation
        records = await kafka.poll(self._consumer)
        return await self._decode(records, generation) if records else None

    async def _decode(self, records: Records, generation: int) -> Decoded:
        """Step 2, in the order of partitions and offsets."""
        flat = [record for partition in sorted(records) for record in records[partition]]
        run = asyncio.get_running_loop().run_in_executor
        volume = sum(map(kafka.size, flat))
        return Decoded(records, volume, await run(self._threads, transform, self.table, flat), generation)

    async def _while_ours(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._ownership.during(work)
        except LostError:
            log.warning("sink %s lost its partitions; their next owner finishes the chunk", self.table.name)
            self._ownership.lost()
        except UnexpectedError as error:
            SINK_RETRIES.labels("unexpected").inc()
            log.warning("sink %s rests for %.0f s and begins its chunk anew, the others go on: %s", self.table.name, REST, error)
            self._rests_until = time.monotonic() + REST
            self._ownership.again()

    async def _take_over(self) -> None:
        """Finish the chunks that others, or this process before, have begun in the partitions assigned; go on where they end."""
        self._forget()
        begun: dict[str, list[TopicPartition]] = {}
        for partition, committed in (await kafka.committed(self._consumer)).items():
            self._consumer.seek(partition, committed.offset)
            if committed.metadata:
                begun.setdefault(committed.metadata, []).append(partition)
        for metadata, mine in begun.items():
            intent = Intent.read(metadata)
            log.info("sink %s finishes a chunk that was begun: %s", self.table.name, intent)
            if intent.version != self.table.version:
                log.warning("sink %s: other code began it; what that code stored the table may hold twice", self.table.name)
            records = await kafka.read(self._settings, self.table.topic, intent.ranges)
            await self._store(await self._decode(records, self._ownership.generation), intent, mine)
            for partition in mine:
                self._consumer.seek(partition, intent.ranges[partition.partition][1])
        self._ownership.taken()

    def _forget(self) -> None:
        """What was read ahead is read again. In the generation that read it, nothing else says from where but a commit."""
        ahead, self._ahead = self._ahead, None
        if ahead and ahead.generation == self._ownership.generation:
            for partition, of in ahead.records.items():
                self._consumer.seek(partition, of[0].offset)

    async def _begin(self, decoded: Decoded) -> None:
        """Steps 3 to 6 for a chunk that nobody has begun."""
        ranges = {partition.partition: (of[0].offset, of[-1].offset + 1) for partition, of in decoded.records.items()}
        await self._store(decoded, Intent(self.table.version, token_hex(8), ranges))

    async def _store(self, decoded: Decoded, intent: Intent, begun: Sequence[TopicPartition] = ()) -> None:
        """Steps 3 to 6 for one chunk; where it was `begun` before, 3 is done, and 6 is for these partitions only."""
        records, chunk = decoded.records, decoded.chunk
        self._give_up = threading.Event()
        self._behind = min((record.timestamp / 1000 for of in records.values() for record in of), default=None)
        if chunk.rows and not begun:
            await self._intend(intent)
        run = asyncio.get_running_loop().run_in_executor
        refused = await run(self._threads, write, self.table, self._client, chunk, intent.token(self.table), self._give_up)
        letters = chunk.letters + refused
        await self._publish(letters)
        await self._commit({partition: intent.ranges[partition.partition][1] for partition in begun or records})
        self._count(chunk, letters)
        self._see(records)

    async def _intend(self, intent: Intent) -> None:
        """Step 3. The generation of the group fences it: who has lost a partition cannot begin a chunk of it."""
        await self._committed({number: (first, str(intent)) for number, (first, _) in intent.ranges.items()})

    async def _publish(self, letters: list[DeadLetter]) -> None:
        """Step 5. A dead letter that cannot be written is fatal: going on would lose the record."""
        try:
            for letter in letters:
                value = encode_model("dead_letter", letter)
                await self._letters.send_and_wait(DEAD_LETTER_TOPIC, value, key=letter.letter_id.bytes)
        except KafkaError as error:
            raise FatalError(f"sink {self.table.name} cannot publish a dead letter: {type(error).__name__}") from error

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Step 6."""
        await self._committed({partition.partition: (offset, "") for partition, offset in offsets.items()})

    async def _committed(self, offsets: dict[int, tuple[int, str]]) -> None:
        try:
            await self._consumer.commit({TopicPartition(self.table.topic, number): each for number, each in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            raise LostError from error

    def _see(self, records: Records) -> None:
        """What is left to read tells how far behind this table is."""
        mine = {partition: of for partition, of in records.items() if partition in self._consumer.assignment()}
        left = sum((self._consumer.highwater(partition) or 0) - of[-1].offset - 1 for partition, of in mine.items())
        LAG.labels(self.table.stage).set(max(left, 0))
        newest = max((of[-1].timestamp / 1000 for of in records.values()), default=None)
        self._behind = newest if left > 0 else None
        self.busy_at = time.monotonic()

    def _count(self, chunk: Chunk, letters: list[DeadLetter]) -> None:
        stage = self.table.stage
        RECORDS.labels(stage, "stored").inc(len(chunk.rows) + len(chunk.letters) - len(letters))
        RECORDS.labels(stage, "skipped").inc(chunk.skipped)
        RECORDS.labels(stage, "dead_letter").inc(len(letters))
        for letter in letters:
            DEAD_LETTERS.labels(stage, letter.reason).inc()
        if "received_at" in self.table.columns:
            received, now, age = self.table.columns.index("received_at"), time.time(), EVENT_AGE.labels("stored")
            for row in chunk.rows[::SAMPLE]:
                age.observe(max(now - row[received] / 1000, 0))
