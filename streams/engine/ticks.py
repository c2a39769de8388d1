"""Ticks: records that tell each partition that time has passed, so that signals can read silent customers.

The worker that has a partition of `touchline.ticks` sends its ticks, one at each multiple of `tick_seconds` since 1970. Two
workers that both believe to have the partition send the same tick, and its readings have the same ids. Ticks that were missed
while no worker ran are not sent later; the next tick names the time of the last one. Readings depend on the log of ticks
alone, so a replay gives the same ones.
"""

import asyncio
import logging
import time
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import RecordError
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode
from schemas.wire.topics import TICKS
from streams.contract import Output
from streams.engine.producer import Producer
from streams.engine.watchdog import Worker

log = logging.getLogger(__name__)
CHECK_SECONDS = 1.0
KAFKA_TIMEOUT_SECONDS = 10.0
MAX_TICKS_READ = 100


def make_tick(at: int, since: int | None, partition: int) -> Output:
    """Return the tick of a partition; both times are in milliseconds since 1970."""
    return Output(TICKS, partition, b"", encode("tick", {"at": at, "since": since}))


def latest_boundary(now: int, seconds: int) -> int:
    """Return the latest multiple of `seconds` up to `now` (both times in milliseconds since 1970)."""
    return now - now % (seconds * 1000)


def make_missing_tick(at: int, logged: Collection[int], partition: int) -> Output | None:
    """Return the tick for a boundary, or None when the log has it. Its `since` is the newest earlier tick in the log."""
    if at in logged:
        return None
    return make_tick(at, max((each for each in logged if each < at), default=None), partition)


class Ticks:
    """Sender of one worker's ticks. It remembers sent ticks, so it reads Kafka at the boundaries only."""

    def __init__(self, worker: Worker, seconds: int, settings: KafkaSettings) -> None:
        self._worker = worker
        self._seconds = seconds
        self._settings = settings
        self._sent: dict[int, int] = {}

    async def run(self, producer: Producer) -> None:
        """Send ticks until cancelled. While Kafka is unreachable, retry every second."""
        kafka = AIOKafkaConsumer(**self._settings.aiokafka(), enable_auto_commit=False)
        await kafka.start()
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                try:
                    await self._send(kafka, producer, latest_boundary(time.time_ns() // 1_000_000, self._seconds))
                except (KafkaError, TimeoutError) as error:
                    log.warning("a tick was not sent because Kafka does not answer (%s); retrying", type(error).__name__)
        finally:
            await asyncio.shield(kafka.stop())

    async def _send(self, kafka: AIOKafkaConsumer, producer: Producer, at: int) -> None:
        if self._worker.check_ready():
            return
        assigned = sorted(each.partition for each in self._worker.committed_offsets() if each.topic == TICKS)
        for partition in assigned:
            if self._sent.get(partition) != at:
                logged = await asyncio.wait_for(read_newest_ticks(kafka, partition), KAFKA_TIMEOUT_SECONDS)
                tick = make_missing_tick(at, logged, partition)
                if tick is not None:
                    await producer.publish([tick])
                self._sent[partition] = at


async def read_newest_ticks(kafka: AIOKafkaConsumer, partition: int) -> list[int]:
    """Return the times of the newest ticks in a partition's log."""
    tp = TopicPartition(TICKS, partition)
    first, end = (await kafka.beginning_offsets([tp]))[tp], (await kafka.end_offsets([tp]))[tp]
    kafka.assign([tp])
    kafka.seek(tp, max(first, end - MAX_TICKS_READ))
    times = []
    while await kafka.position(tp) < end:
        for record in (await kafka.getmany(timeout_ms=500)).get(tp, []):
            try:
                times.append(int(decode(record.value)[1]["at"]))
            except (RecordError, KeyError):
                continue  # not a tick: the stage that reads it makes it a dead letter
    return times
