"""A bounded part of `make crash`: each kind of injury once, and everything killed at once, on two workers and two sinks."""

import os

import pytest

from deploy.local.state import Stack
from tests.crash.injuries import DECK, EVERYTHING, KILL
from tests.crash.story import Told, tell

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(300)]
KILLS = 12


@pytest.fixture(scope="module")
def told(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Told:
    seed = int(os.environ.get("TOUCHLINE_CRASH_SEED", "11"))
    return tell(tmp_path_factory.mktemp("line"), seed, KILLS, lambda name: None, workers=2)


def test_everything_was_injured_that_should_be(told: Told) -> None:
    assert told.injuries.total() >= KILLS
    done = {f"{how} {target}" for target, how in DECK if how == KILL}
    assert done | {"SIGSTOP work", "SIGSTOP sink", f"{KILL} {EVERYTHING}"} <= told.injuries.keys()


def test_every_crash_point_was_passed_by_some_process(told: Told) -> None:
    assert told.never_passed == []


def test_nothing_is_lost_or_twice_and_no_commit_ran_ahead(told: Told) -> None:
    assert told.touchpoints > 500
    assert not any(told.verdict.counts().values()), list(told.verdict.examples())
