"""Ownership of partitions while a chunk is processed.

aiokafka rebalances in the background and commits in the generation that is current by then. Therefore a chunk must never outlive
the generation in which it was polled: a rebalance waits a short time for the chunk, then the chunk is abandoned.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

REVOKE_SECONDS = 3.0
log = logging.getLogger(__name__)


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Rebalance listener of one consumer. New partitions stay paused until `start_reading`.

    `is_assigned` is true while partitions wait for that, `is_current` from then on until the next rebalance. `generation` counts
    assignments.
    """

    def __init__(self, consumer: AIOKafkaConsumer, abandon: Callable[[], None]) -> None:
        self.is_assigned = False
        self.is_current = False
        self.generation = 0
        self._consumer = consumer
        self._abandon = abandon
        self._work: asyncio.Task[None] | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or a rebalance cancels it. Raises the errors of `work`."""
        self._work = asyncio.create_task(work)
        try:
            await asyncio.wait({self._work})
            if not self._work.cancelled():
                self._work.result()
        finally:
            self._work.cancel()
            self._work = None

    def start_reading(self) -> None:
        """Read the assigned partitions, unless another rebalance has started."""
        if self.is_assigned:
            self._consumer.resume(*self._consumer.assignment())
            self.is_assigned, self.is_current = False, True

    def mark_lost(self) -> None:
        """Record a refused commit: chunks polled before the next assignment must not be stored, because earlier ones were not."""
        self.is_current = False

    def retake(self) -> None:
        """Take over the same partitions again, unless a rebalance has started."""
        if self.is_current or self.is_assigned:
            self._consumer.pause(*self._consumer.assignment())
            self.is_assigned, self.is_current = True, False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Wait for the chunk in progress, then abandon it. Heartbeats continue during the wait."""
        self.is_assigned = self.is_current = False
        work = self._work
        if work is None:
            return
        await asyncio.wait({work}, timeout=REVOKE_SECONDS)
        if work.cancel():
            self._abandon()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause the new partitions before the first fetch."""
        self.generation += 1
        self._consumer.pause(*assigned)
        self.is_assigned = True
