"""Faust worker without a broker: consumer, conductor, stream, agent and commit are real, stock or ours.

`Partition` replaces only Faust's Kafka thread. `work.py` holds the work on a record.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.structs import ConsumerRecord
from faust.types.tuples import TP

from streams.engine import transport
from streams.engine.transport import ChunkSchema
from tests.losses.work import BODIES, TOPIC, Codec, Work

HERE = TP(TOPIC, 0)


class Partition:
    """One partition and its committed offset, in place of Faust's Kafka thread.

    Like aiokafka's consumer, it does not seek a partition without a committed offset.
    """

    def __init__(self, values: list[bytes], *, first: int = 0, committed: int | None = None, at_once: int = 500) -> None:
        self.first, self.committed, self.at_once = first, committed, at_once
        self.records: list[Any] = []
        self.extend(values)
        self.position = first if committed is None else committed
        self.commits_fail = False
        self.fetched = asyncio.Event()
        self.answer, self.seek_done, self.commit_accepted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for each in (self.answer, self.seek_done, self.commit_accepted):
            each.set()

    def extend(self, values: list[bytes]) -> None:
        """Add records to the log."""
        self.records += [_record(self.highwater(HERE) + index, each) for index, each in enumerate(values)]

    async def getmany(self, active: Collection[TP], timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109
        start = self.position - self.first
        records = self.records[start : start + self.at_once] if HERE in active else []
        if not records:
            await asyncio.sleep(0.01)
            return {}
        self.position += len(records)
        self.fetched.set()
        await self.answer.wait()
        return {HERE: records}

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        await self.commit_accepted.wait()
        if not self.commits_fail:
            self.committed = offsets[HERE]
        return not self.commits_fail

    async def seek_to_committed(self) -> dict[TP, int | None]:
        if self.committed:
            self.position = self.committed
        await self.seek_done.wait()
        return {HERE: self.committed}

    async def seek_to_beginning(self, *partitions: TP) -> None:
        self.position = self.first

    def assignment(self) -> set[TP]:
        return {HERE}

    def pause_partitions(self, partitions: Collection[TP]) -> None:
        """Do nothing."""

    def _ensure_consumer(self) -> Any:
        """Return the part of aiokafka's consumer that the engine reads: it is a member of the group."""
        return SimpleNamespace(_coordinator=SimpleNamespace(generation=1))

    def topic_partitions(self, topic: str) -> int:
        return 1

    def highwater(self, partition: TP) -> int:
        return self.first + len(self.records)


def _record(offset: int, content: bytes) -> Any:
    return ConsumerRecord(TOPIC, 0, offset, 1, 0, b"k", content, None, 1, len(content), ())


class ProcessEnded(BaseException):
    """Raised in place of the end of the process."""


class Line:
    """One running worker with one partition."""

    def __init__(self, app: Any, partition: Partition, work: Work) -> None:
        self.app, self.partition, self.work = app, partition, work
        self.ended = False

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - Faust has no event for most of it
                await asyncio.sleep(0.005)

    async def settle(self) -> None:
        """Wait until all pending tasks have run."""
        for _ in range(50):
            await asyncio.sleep(0.003)

    async def commit(self) -> int | None:
        """Commit as Faust's timer does, and return the committed offset."""
        await self.app.consumer.commit()
        return self.partition.committed

    def lost(self) -> set[int]:
        """Return the committed offsets that were neither sent nor made a dead letter."""
        committed = range(self.partition.first, self.partition.committed or self.partition.first)
        return {offset for offset in committed if offset not in self.work.sent and offset not in self.work.dead_letters}

    def exit(self, code: int) -> None:
        self.ended = True
        raise ProcessEnded


@asynccontextmanager
async def running(engine: str, partition: Partition, work: Work, **options: Any) -> AsyncIterator[Line]:
    """Run a worker of one kind in `BODIES` that has just been assigned the partition."""
    ours = engine == "ours"
    concurrency = options.pop("concurrency", 1)
    app: Any = faust.App(
        TOPIC,
        broker=f"{transport.SCHEME if ours else 'kafka'}://{options.pop('broker', 'localhost:1')}",
        web_enabled=False,
        topic_disable_leader=True,
        **{"store": "memory://", **options},
    )
    topic = app.topic(TOPIC, schema=ChunkSchema()) if ours else app.topic(TOPIC, key_type=bytes, value_serializer=Codec())
    line = Line(app, partition, work)

    async def body(stream: Any) -> None:
        await BODIES[engine](stream, work)

    agent = app.agent(topic, name="agent", concurrency=concurrency)(body)
    app.in_worker = True
    app.consumer._thread.thread_loop.close()
    app.consumer._thread = partition
    app.consumer_generation_id = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "_exit", line.exit)
        await work.open(app)
        app.flow_control.resume()
        await agent.start()
        await app.topics._update_indices()
        await app.topics.on_partitions_assigned({HERE})
        app.consumer._set_active_tps({HERE})
        await app.consumer.perform_seek()
        app.consumer.resume_flow()
        drain = asyncio.create_task(app.consumer._drain_messages(app._fetcher))
        try:
            yield line
        finally:
            drain.cancel()
            with suppress(asyncio.CancelledError):
                await drain
            await _stop(agent)
            await work.close()


async def _stop(agent: Any) -> None:
    tasks = [actor.actor_task for actor in agent._actors]
    await agent.supervisor.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
