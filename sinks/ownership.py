"""Whose the partitions are while a chunk is worked on: a rebalance waits for the chunk a while, then it is broken off.

aiokafka rebalances in the background and commits in the name of whatever generation it is in by then: a chunk must never outlive
the generation in which it was polled.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

REVOKE_WITHIN = 3.0
log = logging.getLogger(__name__)


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Told by aiokafka what is revoked and assigned. New partitions are paused until they are `taken`.

    `assigned` is set while they wait for that; `current` from then on until the group moves on. `generation` counts assignments.
    """

    def __init__(self, consumer: AIOKafkaConsumer, break_off: Callable[[], None]) -> None:
        self.assigned = False
        self.current = False
        self.generation = 0
        self._consumer = consumer
        self._break_off = break_off
        self._work: asyncio.Task[None] | None = None

    async def during(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this as long as the partitions are ours. Raises what it raises."""
        self._work = asyncio.create_task(work)
        try:
            await asyncio.wait({self._work})
            if not self._work.cancelled():
                self._work.result()
        finally:
            self._work.cancel()
            self._work = None

    def taken(self) -> None:
        """Begin to read what was assigned last, unless the group has moved on since."""
        if self.assigned:
            self._consumer.resume(*self._consumer.assignment())
            self.assigned, self.current = False, True

    def lost(self) -> None:
        """A commit was refused: nothing polled before the next assignment may be stored, for its predecessors were not."""
        self.current = False

    def again(self) -> None:
        """Take the same partitions over once more, unless the group has moved on."""
        if self.current or self.assigned:
            self._consumer.pause(*self._consumer.assignment())
            self.assigned, self.current = True, False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group moves on; while this waits, heartbeats go on."""
        self.assigned = self.current = False
        work = self._work
        if work is None:
            return
        await asyncio.wait({work}, timeout=REVOKE_WITHIN)
        if work.cancel():
            self._break_off()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called before anything was fetched; where nothing is committed, reading begins anew."""
        self.generation += 1
        self._consumer.pause(*assigned)
        self.assigned = True
