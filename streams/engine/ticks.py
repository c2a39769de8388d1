"""Tells each partition that time has passed, at fixed moments of the clock, so that signals can speak about silence.

Whoever has a partition of `touchline.ticks` sends its ticks, one at each full `tick_seconds` since 1970: two workers that both
think they have it send the same tick, and the readings it brings have the same ids. What was missed while nobody worked is not
made up for tick by tick; the next one says since when. Nothing but the log of ticks is looked at, and nothing is written
but ticks: readings follow from the log alone, so that a replay brings the same ones.
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
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
NEWEST = 100


def tick(at: int, since: int | None, partition: int) -> Output:
    """The tick of a partition; both times in milliseconds since 1970."""
    return Output(TICKS, partition, b"", encode("tick", {"at": at, "since": since}))


def boundary(now: int, seconds: int) -> int:
    """The last full `seconds` of the clock at `now` (milliseconds since 1970)."""
    return now - now % (seconds * 1000)


def due(at: int, seen: Collection[int], partition: int) -> Output | None:
    """The tick for a boundary, unless the log has it: since the newest one before it among the ticks `seen` in the log."""
    if at in seen:
        return None
    return tick(at, max((each for each in seen if each < at), default=None), partition)


class Ticks:
    """The ticks of one worker. What was sent once is remembered, so that Kafka is read only at the boundaries."""

    def __init__(self, worker: Worker, seconds: int, settings: KafkaSettings) -> None:
        self._worker = worker
        self._seconds = seconds
        self._settings = settings
        self._sent: dict[int, int] = {}

    async def run(self, producer: Producer) -> None:
        """Tick until cancelled; while Kafka is away, later."""
        kafka = AIOKafkaConsumer(**self._settings.aiokafka(), enable_auto_commit=False)
        await kafka.start()
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    await self._send(kafka, producer, boundary(time.time_ns() // 1_000_000, self._seconds))
                except (KafkaError, TimeoutError) as error:
                    log.warning("a tick was not sent, Kafka does not answer (%s); trying again", type(error).__name__)
        finally:
            await asyncio.shield(kafka.stop())

    async def _send(self, kafka: AIOKafkaConsumer, producer: Producer, at: int) -> None:
        if self._worker.ready():
            return
        mine = sorted(place.partition for place in self._worker.committed() if place.topic == TICKS)
        for partition in mine:
            if self._sent.get(partition) != at:
                seen = await asyncio.wait_for(newest(kafka, partition), ANSWER_SECONDS)
                found = due(at, seen, partition)
                if found is not None:
                    await producer.publish([found])
                self._sent[partition] = at


async def newest(kafka: AIOKafkaConsumer, partition: int) -> list[int]:
    """The times of the newest ticks in a partition's log."""
    place = TopicPartition(TICKS, partition)
    first, end = (await kafka.beginning_offsets([place]))[place], (await kafka.end_offsets([place]))[place]
    kafka.assign([place])
    kafka.seek(place, max(first, end - NEWEST))
    times = []
    while await kafka.position(place) < end:
        for record in (await kafka.getmany(timeout_ms=500)).get(place, []):
            try:
                times.append(int(decode(record.value)[1]["at"]))
            except (RecordError, KeyError):
                continue  # no tick: the stage that reads it refuses it
    return times
