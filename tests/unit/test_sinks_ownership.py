"""Ownership of partitions during a chunk: a rebalance waits, abandons a hanging chunk, and leads to a new read."""

import asyncio
from typing import Any

import pytest

from sinks import ownership
from sinks.ownership import Ownership

PARTITIONS = (("topic", 0), ("topic", 1))


class Reader:
    """Part of a consumer that pauses and resumes partitions."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def assignment(self) -> tuple[Any, ...]:
        return PARTITIONS

    def pause(self, *partitions: Any) -> None:
        self.calls.append(f"pause {len(partitions)}")

    def resume(self, *partitions: Any) -> None:
        self.calls.append(f"resume {len(partitions)}")


class Story:
    """Ownership that reads its partitions, and work that ends when `end` is set."""

    def __init__(self) -> None:
        self.reader, self.broken_off, self.end = Reader(), 0, asyncio.Event()
        self.ownership = Ownership(self.reader, self.break_off)

    def break_off(self) -> None:
        self.broken_off += 1

    async def begin(self) -> asyncio.Task[None]:
        await self.ownership.on_partitions_assigned(PARTITIONS)
        self.ownership.start_reading()
        working = asyncio.create_task(self.ownership.run(self.work()))
        await asyncio.sleep(0)
        return working

    async def work(self) -> None:
        await self.end.wait()


def test_assigned_partitions_are_paused_until_reading_starts() -> None:
    async def story() -> None:
        one = Story()
        assert not one.ownership.is_current
        await one.ownership.on_partitions_assigned(PARTITIONS)
        assert (one.ownership.is_assigned, one.ownership.is_current, one.reader.calls) == (True, False, ["pause 2"])
        one.ownership.start_reading()
        assert (one.ownership.is_assigned, one.ownership.is_current, one.reader.calls) == (
            False,
            True,
            ["pause 2", "resume 2"],
        )

    asyncio.run(story())


def test_rebalance_waits_for_the_current_chunk() -> None:
    async def story() -> None:
        one = Story()
        working = await one.begin()
        revoking = asyncio.create_task(one.ownership.on_partitions_revoked(PARTITIONS))
        await asyncio.sleep(0.02)
        assert not revoking.done()
        assert not one.ownership.is_current
        one.end.set()
        await asyncio.gather(working, revoking)
        assert one.broken_off == 0

    asyncio.run(story())


def test_rebalance_abandons_a_hanging_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "REVOKE_SECONDS", 0.02)

    async def story() -> None:
        one = Story()
        working = await one.begin()
        await one.ownership.on_partitions_revoked(PARTITIONS)
        await asyncio.wait_for(working, timeout=1)
        assert (one.broken_off, one.ownership.is_current, one.ownership.is_assigned) == (1, False, False)

    asyncio.run(story())


@pytest.mark.parametrize("then", ["start_reading", "retake"])
def test_chunk_that_ends_after_a_rebalance_does_not_regain_the_partitions(then: str) -> None:
    async def story() -> None:
        one = Story()
        await one.ownership.on_partitions_assigned(PARTITIONS)
        await one.ownership.on_partitions_revoked(PARTITIONS)
        getattr(one.ownership, then)()
        assert (one.ownership.is_assigned, one.ownership.is_current, one.reader.calls) == (False, False, ["pause 2"])

    asyncio.run(story())


def test_refused_commit_loses_the_partitions_until_the_next_assignment() -> None:
    async def story() -> None:
        one = Story()
        one.end.set()
        await (await one.begin())
        one.ownership.mark_lost()
        assert not one.ownership.is_current
        await one.ownership.on_partitions_assigned(PARTITIONS)
        assert one.ownership.is_assigned

    asyncio.run(story())


def test_partitions_are_taken_over_again_when_a_chunk_restarts() -> None:
    async def story() -> None:
        one = Story()
        one.end.set()
        await (await one.begin())
        one.ownership.retake()
        assert (one.ownership.is_assigned, one.ownership.is_current, one.reader.calls[-1]) == (True, False, "pause 2")

    asyncio.run(story())


def test_error_of_the_chunk_is_raised_and_cancellation_ends_it() -> None:
    async def broken() -> None:
        raise LookupError

    async def story() -> None:
        one = Story()
        with pytest.raises(LookupError):
            await one.ownership.run(broken())
        working = await one.begin()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await asyncio.sleep(0)
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    asyncio.run(story())
