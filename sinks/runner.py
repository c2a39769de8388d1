"""One table at work, with a consumer group, a ClickHouse connection and a thread of its own: none can hold up another.

The order of steps is the guarantee (at least once; ReplacingMergeTree and the views make it once for the reader):

1. poll a chunk of records;
2. decode it into rows (pure);
3. insert the rows as one block under one token, again with the same bytes until the outcome is known;
4. publish the dead letters of records that could not be decoded or stored, and wait until Kafka has them all;
5. commit the next offset of each partition.

A crash between any two steps replays the chunk into the same rows and the same dead letters.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.codec import encode_model
from schemas.dead_letter import DeadLetter
from schemas.errors import ConfigError, FatalError
from schemas.settings import KafkaSettings
from schemas.telemetry import DEAD_LETTERS, EVENT_AGE, LAG, LAG_SECONDS, RECORDS
from schemas.topics import DEAD_LETTERS as DEAD_LETTER_TOPIC
from sinks import kafka
from sinks.chunk import Chunk, transform
from sinks.clickhouse import ClickHouse
from sinks.contract import Table
from sinks.retry import StoppedError, write

CHUNK = 50_000
POLL_MS = 500
LEAVE_WITHIN = 3.0
log = logging.getLogger(__name__)
Records = dict[TopicPartition, list[ConsumerRecord]]


class Runner:
    """`busy_at` is the monotonic time at which the last chunk was committed, `started` whether it has begun to read."""

    def __init__(self, table: Table, settings: KafkaSettings, letters: AIOKafkaProducer, stop: threading.Event) -> None:
        self.table = table
        self.busy_at = time.monotonic()
        self.started = False
        self._consumer: AIOKafkaConsumer = kafka.consumer(settings, f"touchline-sink-{table.name}")
        self._letters = letters
        self._stop = stop
        self._client = ClickHouse()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=table.stage)
        self._behind: float | None = None
        LAG_SECONDS.labels(table.stage).set_function(lambda: time.time() - self._behind if self._behind else 0.0)

    async def run(self) -> None:
        """Store chunks until told to stop. Raises ConfigError (the topic or table is missing), FatalError, KafkaError."""
        await self._consumer.start()
        try:
            if self.table.topic not in await self._consumer.topics():
                raise ConfigError(f"Kafka has no topic {self.table.topic}: run `touchline migrate`")
            self._consumer.subscribe([self.table.topic])
            self.started = True
            log.info("sink %s started", self.table.name)
            while not self._stop.is_set():
                if records := await self._consumer.getmany(timeout_ms=POLL_MS, max_records=CHUNK):
                    await self._store(records)
            log.info("sink %s stopped", self.table.name)
        except StoppedError:
            log.warning("sink %s stopped while ClickHouse was away; the chunk in hand was not committed", self.table.name)
        finally:
            self._thread.shutdown(wait=False)
            await kafka.closed(self._consumer.stop(), LEAVE_WITHIN)

    async def waiting(self) -> int:
        """Records of the topic that the group has not committed, whoever reads them. Raises KafkaError."""
        numbers = self._consumer.partitions_for_topic(self.table.topic) or ()
        ends = await self._consumer.end_offsets([TopicPartition(self.table.topic, number) for number in numbers])
        behind = {partition: end - (await self._consumer.committed(partition) or 0) for partition, end in ends.items()}
        LAG.labels(self.table.stage).set(sum(behind.get(partition, 0) for partition in self._consumer.assignment()))
        return sum(behind.values())

    def abandon(self) -> None:
        """Break off an insert that hangs; nothing of it is committed."""
        self._client.close()

    async def _store(self, records: Records) -> None:
        """Steps 2 to 5 for one chunk."""
        flat = [record for partition in sorted(records) for record in records[partition]]
        self._behind = min(record.timestamp for record in flat) / 1000
        chunk, letters = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, flat)
        await self._publish(letters)
        await self._commit({partition: of[-1].offset + 1 for partition, of in records.items()})
        self._count(chunk, letters)
        mine = {partition: of for partition, of in records.items() if partition in self._consumer.assignment()}
        left = sum((self._consumer.highwater(partition) or 0) - of[-1].offset - 1 for partition, of in mine.items())
        LAG.labels(self.table.stage).set(max(left, 0))
        self._behind = max(record.timestamp for record in flat) / 1000 if left > 0 else None
        self.busy_at = time.monotonic()

    def _work(self, records: Sequence[ConsumerRecord]) -> tuple[Chunk, list[DeadLetter]]:
        """Steps 2 and 3, away from the event loop, so that heartbeats go on."""
        chunk = transform(self.table, records)
        return chunk, chunk.letters + write(self.table, self._client, chunk, self._stop)

    async def _publish(self, letters: list[DeadLetter]) -> None:
        """Step 4. A dead letter that cannot be written is fatal: going on would lose the record."""
        try:
            for letter in letters:
                value = encode_model("dead_letter", letter)
                await self._letters.send_and_wait(DEAD_LETTER_TOPIC, value, key=letter.letter_id.bytes)
        except KafkaError as error:
            raise FatalError(f"sink {self.table.name} cannot publish a dead letter: {type(error).__name__}") from error

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Step 5. Where the group has moved on, the new owner replays the chunk into the same rows."""
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.warning("sink %s lost its partitions before the commit; their new owner replays them", self.table.name)

    def _count(self, chunk: Chunk, letters: list[DeadLetter]) -> None:
        stage = self.table.stage
        RECORDS.labels(stage, "stored").inc(len(chunk.rows) + len(chunk.letters) - len(letters))
        RECORDS.labels(stage, "skipped").inc(chunk.skipped)
        RECORDS.labels(stage, "dead_letter").inc(len(letters))
        for letter in letters:
            DEAD_LETTERS.labels(stage, letter.reason).inc()
        if "received_at" in self.table.columns:
            received, now, age = self.table.columns.index("received_at"), time.time(), EVENT_AGE.labels("stored")
            for row in chunk.rows:
                age.observe(max(now - row[received] / 1000, 0))
