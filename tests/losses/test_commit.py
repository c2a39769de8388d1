"""What is committed, and what the worker believes to be committed."""

import asyncio

import pytest

from tests.losses.line import Partition, running
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
