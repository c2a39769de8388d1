"""Records that count as done before their work is."""

import asyncio
from typing import Any

import pytest

from tests.losses.line import Partition, running
from tests.losses.work import Waiting, Work, value

FAILING = 1
POISON = 30
SKIPPED = 2


class Failing(Work):
    """Work in which one record fails: in the fold, like a bad record, or in the send, like an unknown error."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def fold(self, number: int) -> None:
        if number == FAILING and self.where == "fold":
            raise ValueError("a bad record")

    async def send(self, number: int) -> None:
        if number == FAILING and self.where == "send":
            raise OSError("unknown error")
        await super().send(number)


# engine, failing call: lost offsets, dead letters, whether the process ends (a restart then repeats the record)
FAILURES = [
    ("stock", "fold", {FAILING}, [], False),
    ("stock", "send", {FAILING}, [], False),
    ("stock take", "fold", {0, 1, 2}, [], False),
    ("stock noack", "fold", {FAILING}, [], False),
    ("stock noack_take", "fold", {0, 1, 2}, [], False),
    ("ours", "fold", set(), [FAILING], False),
    ("ours", "send", set(), [], True),
]


@pytest.mark.parametrize(("engine", "where", "lost", "dead_letters", "ended"), FAILURES)
def test_failed_record_is_not_committed_as_done(
    engine: str, where: str, lost: set[int], dead_letters: list[int], *, ended: bool
) -> None:
    async def scenario() -> None:
        work = Failing(where)
        async with running(engine, Partition([value(number) for number in range(9)]), work) as line:
            await line.until(lambda: line.ended or 8 in work.sent)
            await line.settle()
            await line.commit()
            assert (line.lost(), work.dead_letters, line.ended) == (lost, dead_letters, ended)
            assert line.partition.committed == (None if ended else 9)

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "lost"), [("stock", set(range(POISON + 1))), ("ours", set())])
def test_undecodable_bytes_are_not_committed_ahead_of_waiting_records(engine: str, lost: set[int]) -> None:
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
                assert (line.lost(), work.dead_letters) == (set(), [POISON])

    asyncio.run(scenario())


class Rebalanced(Work):
    """Work during which a rebalance ends right after the delivery of one record, whose generation is then outdated."""

    async def open(self, app: Any) -> None:
        deliver = app.consumer.callback

        async def callback(message: Any) -> None:
            await deliver(message)
            app.consumer_generation_id += message.offset == SKIPPED

        app.consumer.callback = callback


# engine, compiled or Python streams: lost offsets
SKIPPED_CASES = [("stock", False, {SKIPPED}), ("stock", True, set()), ("ours", False, set()), ("ours", True, set())]


@pytest.mark.parametrize(("engine", "compiled", "lost"), SKIPPED_CASES)
def test_skipped_record_is_not_committed_after_a_rebalance(
    engine: str, lost: set[int], monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    if not compiled:
        monkeypatch.setattr("faust.streams._CStreamIterator", None)

    async def scenario() -> None:
        work = Rebalanced()
        async with running(engine, Partition([value(number) for number in range(5)], at_once=1), work) as line:
            await line.until(lambda: 4 in work.sent)
            await line.settle()
            assert await line.commit() == (5 if lost else SKIPPED)
            assert (line.lost(), work.sent) == (lost, [0, 1, 3, 4])

    asyncio.run(scenario())
