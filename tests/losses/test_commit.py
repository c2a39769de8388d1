"""Commits that pass unfinished records, or leave out finished ones."""

import asyncio

import pytest

from tests.losses.line import HERE, Partition, running
from tests.losses.work import Work, value


class Slow(Work):
    """Work in which some records never finish, while later ones do."""

    def __init__(self, slow: set[int]) -> None:
        super().__init__()
        self.slow = slow

    async def send(self, number: int) -> None:
        if number in self.slow:
            await asyncio.Event().wait()
        await super().send(number)


# engine, committed before, slow records: committed after, lost offsets. Four records follow the slow ones.
HEADS = [
    ("stock", 31, {31}, 36, {31}),
    ("stock", 31, {31, 32}, 31, set()),  # Faust notices two missing records
    ("stock", None, {0}, 5, {0}),
    ("stock", None, {0, 1, 2}, 7, {0, 1, 2}),
    ("ours", 31, {31}, 31, set()),
    ("ours", 31, {31, 32}, 31, set()),
    ("ours", None, {0}, None, set()),
    ("ours", None, {0, 1, 2}, None, set()),
]


@pytest.mark.parametrize(("engine", "before", "slow", "after", "lost"), HEADS)
def test_commit_never_passes_an_unfinished_record(
    engine: str, before: int | None, slow: set[int], after: int | None, lost: set[int]
) -> None:
    async def scenario() -> None:
        first = before or 0
        last = first + len(slow) + 3
        work = Slow(slow)
        source = Partition([value(number) for number in range(first, last + 1)], first=first, committed=before, at_once=1)
        async with running(engine, source, work, concurrency=len(slow) + 1) as line:
            await line.until(lambda: last in work.sent or (engine == "ours" and work.sent))
            await line.settle()
            assert await line.commit() == after
            assert line.lost() == lost

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "second"), [("stock", None), ("ours", 3)])
def test_failed_commit_is_repeated(engine: str, second: int | None) -> None:
    """Nothing is lost, but a restart repeats everything since the last successful commit."""

    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(3)])
        async with running(engine, source, work) as line:
            await line.until(lambda: 2 in work.sent)
            await line.settle()
            source.commits_fail = True
            assert await line.commit() is None
            source.commits_fail = False
            assert await line.commit() == second

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "after"), [("stock", None), ("ours", 3)])
def test_finished_records_are_committed_before_revocation(engine: str, after: int | None) -> None:
    """Nothing is lost, but the next owner repeats everything since the last commit, at every rebalance."""

    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(3)])
        async with running(engine, source, work, stream_wait_empty=True) as line:
            await line.until(lambda: 2 in work.sent)
            await line.settle()
            await line.app.consumer.on_partitions_revoked({HERE})
            assert source.committed == after

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "after"), [("stock", 3), ("ours", 5)])
def test_last_commit_includes_records_finished_during_another_commit(engine: str, after: int) -> None:
    """Nothing is lost, but the next owner repeats records: Faust waits for the running commit and then commits nothing."""

    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(3)])
        async with running(engine, source, work, stream_wait_empty=True) as line:
            await line.until(lambda: 2 in work.sent)
            await line.settle()
            source.commit_accepted.clear()
            running_commit = asyncio.create_task(line.commit())
            source.extend([value(number) for number in range(3, 5)])
            await line.until(lambda: 4 in work.sent)
            await line.settle()
            last = asyncio.create_task(line.app.consumer.wait_empty())
            await line.settle()
            source.commit_accepted.set()
            await asyncio.gather(running_commit, last)
            assert source.committed == after

    asyncio.run(scenario())
