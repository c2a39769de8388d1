"""What is committed, and what the worker believes to be committed."""

import asyncio

import pytest

from tests.losses.line import HERE, Partition, running
from tests.losses.work import Work, value


class Slow(Work):
    """Some records take for ever, while others that came later are done."""

    def __init__(self, slow: set[int]) -> None:
        super().__init__()
        self.slow = slow

    async def send(self, number: int) -> None:
        if number in self.slow:
            await asyncio.Event().wait()
        await super().send(number)


# engine, committed before, slow records: committed after, and lost by it. Four records follow the slow ones.
HEADS = [
    ("stock", 31, {31}, 36, {31}),
    ("stock", 31, {31, 32}, 31, set()),  # two are missing: this it sees
    ("stock", None, {0}, 5, {0}),
    ("stock", None, {0, 1, 2}, 7, {0, 1, 2}),
    ("ours", 31, {31}, 31, set()),
    ("ours", 31, {31, 32}, 31, set()),
    ("ours", None, {0}, None, set()),
    ("ours", None, {0, 1, 2}, None, set()),
]


@pytest.mark.parametrize(("engine", "before", "slow", "after", "lost"), HEADS)
def test_a_commit_never_passes_a_record_that_is_not_done(
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
def test_a_commit_that_failed_is_tried_again(engine: str, second: int | None) -> None:
    """Nothing is lost, but a restart repeats everything since the last commit that did not fail."""

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
def test_what_is_done_is_committed_before_its_partition_goes(engine: str, after: int | None) -> None:
    """Nothing is lost, but whoever has the partition next does again what was done since the last commit, at every rebalance."""

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
def test_the_last_commit_holds_what_was_done_while_another_was_under_way(engine: str, after: int) -> None:
    """As above: Faust waits for that one, and takes it for its own."""

    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(3)])
        async with running(engine, source, work, stream_wait_empty=True) as line:
            await line.until(lambda: 2 in work.sent)
            await line.settle()
            source.taken.clear()
            under_way = asyncio.create_task(line.commit())
            source.extend([value(number) for number in range(3, 5)])
            await line.until(lambda: 4 in work.sent)
            await line.settle()
            last = asyncio.create_task(line.app.consumer.wait_empty())
            await line.settle()
            source.taken.set()
            await asyncio.gather(under_way, last)
            assert source.committed == after

    asyncio.run(scenario())
