"""Watchdog that ends a process without progress, so that its supervisor restarts it.

Faust and aiokafka can stop to fetch a partition after a rebalance, a time-out can end a recovery, and a step may never
return. From outside, all of these look the same: records wait, Kafka answers, and no offset moves. The watchdog checks
exactly this, over a Kafka connection of its own. While Kafka does not answer, nothing counts as stuck, and the count restarts
at the next answer.
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
from schemas.service.exit_codes import FATAL
from schemas.service.health import Heartbeat
from streams.contract import Step

log = logging.getLogger(__name__)
CHECK_SECONDS = 10.0
KAFKA_TIMEOUT_SECONDS = 5.0
# A slow chunk takes seconds, a tick over a million customers half a minute, a rebalance up to one minute, and the time-outs
# of Faust 90 seconds. The metrics therefore report after two minutes, and the process ends after five.
SUSPECT_CHECKS = 12
STUCK_CHECKS = 30


class WatchedItem(NamedTuple):
    """Something that must make progress: a partition of a stage, the recovery, or the event loop."""

    stage: str
    topic: str
    partition: int


class Progress(NamedTuple):
    """Position at the last check (an offset or a count), and the number of checks before it with the same position."""

    position: int
    unchanged_checks: int = 0


def update_progress(before: Mapping[WatchedItem, Progress], positions: Mapping[WatchedItem, int]) -> dict[WatchedItem, Progress]:
    """Return the progress after one more check. `positions` holds everything that must move, and nothing else."""
    return {
        watched: Progress(position, before[watched].unchanged_checks + 1)
        if watched in before and before[watched].position == position
        else Progress(position)
        for watched, position in positions.items()
    }


class Worker(Protocol):
    """The part of the app that this module needs."""

    def check_ready(self) -> str: ...

    def recovery_remaining(self) -> int: ...

    def committed_offsets(self) -> Mapping[WatchedItem, int]: ...


RECOVERY = WatchedItem("recovery", "", 0)
LOOP = WatchedItem("loop", "", 0)


class Watchdog:
    """Periodic check of one worker."""

    def __init__(self, worker: Worker, steps: Sequence[Step], settings: KafkaSettings) -> None:
        self._worker = worker
        self._stages = [step.name for step in steps]
        self._any = TopicPartition(steps[0].topics[0], 0)
        self._settings = settings
        self._progress: dict[WatchedItem, Progress] = {}

    async def run(self) -> None:
        """Check until cancelled."""
        kafka = AIOKafkaConsumer(**self._settings.aiokafka())
        await kafka.start()
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                try:
                    positions = await asyncio.wait_for(self._read_positions(kafka), KAFKA_TIMEOUT_SECONDS)
                except (KafkaError, TimeoutError):
                    positions = {}  # Kafka does not answer
                self._progress = update_progress(self._progress, positions)
                self._report()
        finally:
            await asyncio.shield(kafka.stop())

    async def _read_positions(self, kafka: AIOKafkaConsumer) -> dict[WatchedItem, int]:
        """Return the positions that must move: the recovery, or otherwise each partition with uncommitted records."""
        if self._worker.check_ready():
            await kafka.end_offsets([self._any])
            return {RECOVERY: self._worker.recovery_remaining()}
        committed = self._worker.committed_offsets()
        partitions = {TopicPartition(each.topic, each.partition): each for each in committed}
        first = await kafka.beginning_offsets(partitions)
        end = await kafka.end_offsets(partitions)
        return {each: committed[each] for tp, each in partitions.items() if max(first[tp], committed[each]) < end[tp]}

    def _report(self) -> None:
        suspect = [each for each, progress in self._progress.items() if progress.unchanged_checks >= SUSPECT_CHECKS]
        telemetry.RECOVERY_STUCK.set(RECOVERY in suspect)
        for stage in self._stages:
            telemetry.STUCK_PARTITIONS.labels(stage).set(sum(each.stage == stage for each in suspect))
        stuck = [each for each, progress in self._progress.items() if progress.unchanged_checks >= STUCK_CHECKS]
        for each in stuck:
            position = self._progress[each].position
            if each == RECOVERY:
                log.critical("recovery is stuck with %d changelog records left to read; the process ends", position)
            else:
                log.critical("stage %s is stuck at %s/%d offset %d with uncommitted records; the process ends", *each, position)
        if stuck:
            os._exit(FATAL)


def watch_event_loop(heartbeat: Heartbeat) -> None:
    """End the process when its event loop is blocked. Runs in a thread, because a blocked event loop cannot check itself."""
    progress: dict[WatchedItem, Progress] = {}
    while True:
        time.sleep(CHECK_SECONDS)
        progress = update_progress(progress, {LOOP: heartbeat.beats})
        if progress[LOOP].unchanged_checks >= STUCK_CHECKS:
            log.critical("the event loop has been blocked for %.0f s; the process ends", heartbeat.lag())
            os._exit(FATAL)
