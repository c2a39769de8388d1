"""The watch over the tables of one process: no table can hold up the end of all."""

import asyncio
from typing import cast

import pytest

from sinks import process
from sinks.runner import Runner


class Stopped:
    """A consumer that was stopped while it was asked: it never answers."""

    async def waiting(self) -> int:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_look_at_a_consumer_that_never_answers_ends_and_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LAG_TIMEOUT_SECONDS", 0.05)
    look = process._lag([cast("Runner", Stopped())])
    assert asyncio.run(asyncio.wait_for(look, timeout=5)) is None
