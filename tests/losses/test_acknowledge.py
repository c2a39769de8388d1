"""A record counts as done although its work was not."""

import asyncio
from typing import Any

import pytest

from tests.losses.line import Partition, running
from tests.losses.work import Waiting, Work, value

BOOM = 1
POISON = 30
STALE = 2


class Failing(Work):
    """One record fails: in the fold, as a bad record does, or on the way out, as an unknown error does."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def fold(self, number: int) -> None:
        if number == BOOM and self.where == "fold":
            raise ValueError("a bad record")

    async def send(self, number: int) -> None:
        if number == BOOM and self.where == "send":
            raise OSError("nobody knows why")
        await super().send(number)


# engine, where it fails: what is lost, what is a dead letter, whether the process ends (and begins again where it was)
FAILURES = [
    ("stock", "fold", {BOOM}, [], False),
    ("stock", "send", {BOOM}, [], False),
    ("stock take", "fold", {0, 1, 2}, [], False),
    ("stock noack", "fold", {BOOM}, [], False),
    ("stock noack_take", "fold", {0, 1, 2}, [], False),
    ("ours", "fold", set(), [BOOM], False),
    ("ours", "send", set(), [], True),
]


@pytest.mark.parametrize(("engine", "where", "lost", "refused", "ended"), FAILURES)
def test_a_record_that_fails_is_not_committed_as_done(
    engine: str, where: str, lost: set[int], refused: list[int], *, ended: bool
) -> None:
    async def scenario() -> None:
        work = Failing(where)
        async with running(engine, Partition([value(number) for number in range(9)]), work) as line:
            await line.until(lambda: line.ended or 8 in work.sent)
            await line.settle()
            await line.commit()
            assert (line.lost(), work.refused, line.ended) == (lost, refused, ended)
            assert line.partition.committed == (None if ended else 9)

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "lost"), [("stock", set(range(POISON + 1))), ("ours", set())])
def test_bytes_that_are_no_record_are_not_committed_ahead_of_what_waits(engine: str, lost: set[int]) -> None:
    async def scenario() -> None:
        values = [b"\xff" if number == POISON else value(number) for number in range(50)]
        work = Waiting()
        async with running(engine, Partition(values), work) as line:
            await line.settle()
            await line.commit()
            assert line.lost() == lost
            if engine == "ours":
                work.gate.set()
                await line.until(lambda: 49 in work.sent)
                await line.settle()
                assert await line.commit() == 50
                assert (line.lost(), work.refused) == (set(), [POISON])

    asyncio.run(scenario())


class Rebalanced(Work):
    """A rebalance ends just when one record has been delivered: its generation is that of the one before."""

    async def open(self, app: Any) -> None:
        deliver = app.consumer.callback

        async def callback(message: Any) -> None:
            await deliver(message)
            app.consumer_generation_id += message.offset == STALE

        app.consumer.callback = callback


# engine, whether its streams are compiled or Python: what is lost
SKIPPED = [("stock", False, {STALE}), ("stock", True, set()), ("ours", False, set()), ("ours", True, set())]


@pytest.mark.parametrize(("engine", "compiled", "lost"), SKIPPED)
def test_what_a_stream_skips_after_a_rebalance_is_not_committed_as_done(
    engine: str, lost: set[int], monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    if not compiled:
        monkeypatch.setattr("faust.streams._CStreamIterator", None)

    async def scenario() -> None:
        work = Rebalanced()
        async with running(engine, Partition([value(number) for number in range(5)], at_once=1), work) as line:
            await line.until(lambda: 4 in work.sent)
            await line.settle()
            assert await line.commit() == (5 if lost else STALE)
            assert (line.lost(), work.sent) == (lost, [0, 1, 3, 4])

    asyncio.run(scenario())
