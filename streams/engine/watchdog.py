"""Notices what stands still though it should not, and ends the process, so that its supervisor starts it again.

Faust and aiokafka have stopped fetching a partition after a rebalance, have lost a recovery to a time-out, and a step may
never return. All of it looks the same from outside: records wait, Kafka answers, and nothing moves. So that is what is
looked at, over a connection of its own. While Kafka does not answer nothing is stuck, and the count begins anew after.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.service import telemetry
from schemas.service.connection import KafkaSettings
from schemas.service.health import Heartbeat
from streams.contract import Step
from streams.engine.stage import EXIT

log = logging.getLogger(__name__)
LOOK_SECONDS = 10.0
ANSWER_SECONDS = 5.0
# A slow chunk takes seconds, a tick over a million customers half a minute, a rebalance up to one minute, and Faust's
# own time-outs are 90 seconds: after two minutes people are told, after five the process ends.
SUSPECT_LOOKS = 12
STUCK_LOOKS = 30


class Place(NamedTuple):
    """A partition in the hands of a stage."""

    stage: str
    topic: str
    partition: int


class Standing(NamedTuple):
    """Where something stood at the last look (an offset, a count), and at how many looks in a row before that, too."""

    mark: int
    looks: int = 0


def standings(before: Mapping[Place, Standing], marks: Mapping[Place, int]) -> dict[Place, Standing]:
    """The standings after one more look; `marks` holds everything that should move, and nothing else."""
    return {
        place: Standing(mark, before[place].looks + 1) if place in before and before[place].mark == mark else Standing(mark)
        for place, mark in marks.items()
    }


class Worker(Protocol):
    """What is watched: the app, as far as this module needs it."""

    def ready(self) -> str: ...

    def recovery_remaining(self) -> int: ...

    def committed(self) -> Mapping[Place, int]: ...


RECOVERY = Place("recovery", "", 0)
LOOP = Place("loop", "", 0)


class Watch:
    """Looks at one worker from time to time."""

    def __init__(self, worker: Worker, steps: Sequence[Step], settings: KafkaSettings) -> None:
        self._worker = worker
        self._stages = [step.name for step in steps]
        self._any = TopicPartition(steps[0].topics[0], 0)
        self._settings = settings
        self._standings: dict[Place, Standing] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        kafka = AIOKafkaConsumer(**self._settings.aiokafka())
        await kafka.start()
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    marks = await asyncio.wait_for(self._look(kafka), ANSWER_SECONDS)
                except (KafkaError, TimeoutError):
                    marks = {}  # Kafka is away
                self._standings = standings(self._standings, marks)
                self._tell()
        finally:
            await asyncio.shield(kafka.stop())

    async def _look(self, kafka: AIOKafkaConsumer) -> dict[Place, int]:
        """What should move from here: the recovery, or else every partition in which records wait."""
        if self._worker.ready():
            await kafka.end_offsets([self._any])
            return {RECOVERY: self._worker.recovery_remaining()}
        committed = self._worker.committed()
        partitions = {TopicPartition(place.topic, place.partition): place for place in committed}
        first = await kafka.beginning_offsets(partitions)
        end = await kafka.end_offsets(partitions)
        return {place: committed[place] for each, place in partitions.items() if max(first[each], committed[place]) < end[each]}

    def _tell(self) -> None:
        suspect = [place for place, standing in self._standings.items() if standing.looks >= SUSPECT_LOOKS]
        telemetry.RECOVERY_STUCK.set(RECOVERY in suspect)
        for stage in self._stages:
            telemetry.STUCK_PARTITIONS.labels(stage).set(sum(place.stage == stage for place in suspect))
        stuck = [place for place, standing in self._standings.items() if standing.looks >= STUCK_LOOKS]
        for place in stuck:
            mark = self._standings[place].mark
            if place == RECOVERY:
                log.critical("recovery stands still with %d changelog records to read; the process ends", mark)
            else:
                log.critical("stage %s stands still at %s/%d offset %d though records wait; the process ends", *place, mark)
        if stuck:
            os._exit(EXIT)


def watch_loop(heartbeat: Heartbeat) -> None:
    """From a thread: end the process when its event loop does not turn at all any more, which nothing on it could notice."""
    standing: dict[Place, Standing] = {}
    while True:
        time.sleep(LOOK_SECONDS)
        standing = standings(standing, {LOOP: heartbeat.beats})
        if standing[LOOP].looks >= STUCK_LOOKS:
            log.critical("the event loop has stood still for %.0f s; the process ends", heartbeat.lag())
            os._exit(EXIT)
