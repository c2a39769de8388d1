"""A sample of people with a known truth on the real line: compound keys, customers in the views, and a review."""

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest

from deploy.local.state import Stack
from streams.identity.compound_keys import parse_keys
from tests.harness.running_line import running_line
from tests.harness.stack import TOUCHLINE
from tests.quality.customers import read_chain, run_chain
from tests.quality.febrl import load_febrl
from tests.quality.pairs import score
from tests.quality.real_line import KEYS, join_touchpoints, read_customers, wait_until_joined

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def line(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEYS, "people")
        with running_line("quality", tmp_path_factory.mktemp("quality") / "log"):
            yield


def group(customers: Mapping[bytes, bytes]) -> set[frozenset[bytes]]:
    """Return the event ids of each customer."""
    groups = defaultdict(set)
    for event, customer in customers.items():
        groups[customer].add(event)
    return {frozenset(events) for events in groups.values()}


@pytest.mark.usefixtures("line")
def test_people_are_joined_by_keys_and_then_by_a_review() -> None:
    labelled = load_febrl(3, seed=1, persons=300)
    customers = join_touchpoints(labelled)
    found = score(labelled, customers)
    assert found.precision == 1
    assert found.f1 >= 0.985
    assert group(customers) == group(read_chain(run_chain(labelled, parse_keys("people"), seed=2)))

    listed = _review("--json", "--minimum", "0.99")
    proposals = [json.loads(line) for line in listed.stdout.splitlines()]
    assert proposals
    assert {each["result"] for each in proposals[0]["traits"]} <= {"equal", "similar", "different", "missing"}
    done = _review("--apply", "0.99", "--who", "eve")
    assert f"{len(proposals)} pairs decided" in done.stderr
    wait_until_joined()
    reviewed = score(labelled, read_customers())
    assert reviewed.precision == 1
    assert reviewed.f1 >= 0.995
    assert not _review("--json", "--minimum", "0.99").stdout


def _review(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [TOUCHLINE, "identity", "review", *arguments], capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done
