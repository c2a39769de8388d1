"""A bounded part of `make crash`: each kind of injury once, then all processes at once, on two workers and two sinks."""

import os

import pytest

from deploy.local.state import Stack
from tests.crash.injuries import DECK, EVERYTHING, KILL
from tests.crash.run import Outcome, run_injuries

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(300)]
KILLS = 12


@pytest.fixture(scope="module")
def outcome(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    seed = int(os.environ.get("TOUCHLINE_CRASH_SEED", "11"))
    return run_injuries(tmp_path_factory.mktemp("line"), seed, KILLS, lambda name: None, workers=2)


def test_each_target_was_injured(outcome: Outcome) -> None:
    assert outcome.injuries.total() >= KILLS
    done = {f"{how} {target}" for target, how in DECK if how == KILL}
    assert done | {"SIGSTOP work", "SIGSTOP sink", f"{KILL} {EVERYTHING}"} <= outcome.injuries.keys()


def test_customers_were_merged_split_and_rebuilt(outcome: Outcome) -> None:
    assert all(outcome.changes.get(name) for name in ("merge", "split", "rebuild")), outcome.changes


def test_every_crash_point_was_passed_by_some_process(outcome: Outcome) -> None:
    assert outcome.never_passed == []


def test_nothing_is_lost_or_duplicated_and_no_commit_is_ahead(outcome: Outcome) -> None:
    assert outcome.touchpoints > 500
    assert not any(outcome.verdict.counts().values()), list(outcome.verdict.examples())
