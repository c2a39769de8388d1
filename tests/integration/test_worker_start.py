"""A worker that starts with an empty folder loads the identity map before it takes traffic."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.wire.topics import IDENTITY, IDENTITY_REQUESTS
from tests.harness.topics import end_offsets
from tests.harness.waiting import eventually
from tests.harness.workers import (
    ERP,
    get_page,
    is_drained,
    make_order,
    publish_orders,
    read_lag,
    read_resolved_ids,
    running_worker,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("own_topics")]
CUSTOMERS = 20_000
MAX_SHARE = 0.05
SLOW_LOAD = """
import asyncio
from streams.engine import replica
replica.LOADING_RECORDS = 200
async def wait(consumer, partition, position=replica.AIOKafkaConsumer.position):
    await asyncio.sleep(0.05)
    return await position(consumer, partition)
replica.AIOKafkaConsumer.position = wait
from deploy.cli import main
main()
"""


@pytest.fixture
def run() -> str:
    return f"run-{uuid4().hex[:8]}"


def count_requests() -> int:
    """Return how many touchpoints went to the sequencer until now."""
    return sum(end_offsets(IDENTITY_REQUESTS).values())


def test_known_touchpoints_do_not_go_to_the_sequencer_while_a_worker_starts(tmp_path: Path, run: str) -> None:
    publish_orders(make_order(number, run, number) for number in range(CUSTOMERS))
    with running_worker(f"{run}-1", tmp_path / "first"):
        eventually(is_drained, 120)
    assert sum(end_offsets(IDENTITY).values()) >= CUSTOMERS
    before = count_requests()
    publish_orders(make_order(CUSTOMERS + number, run, number) for number in range(CUSTOMERS))
    log = tmp_path / "second"
    seen: set[str] = set()
    with running_worker(f"{run}-2", log, (sys.executable, "-c", SLOW_LOAD)) as process:

        def is_loading() -> bool:
            status, body = get_page(log, "ready")
            if "identity copy: " in body:
                seen.add(body.strip())
                assert status == 503
                assert read_lag(ERP) == CUSTOMERS, "a worker took traffic before its copy was loaded"
            return status == 200

        eventually(is_loading, 120)
        eventually(is_drained, 120)
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert len(seen) >= 3
    assert count_requests() - before <= MAX_SHARE * CUSTOMERS
    assert len(set(read_resolved_ids(run))) == 2 * CUSTOMERS


def test_worker_that_loads_its_copy_stops_at_once(tmp_path: Path, run: str) -> None:
    publish_orders(make_order(number, run, number) for number in range(CUSTOMERS))
    with running_worker(f"{run}-1", tmp_path / "first"):
        eventually(is_drained, 120)
    log = tmp_path / "second"
    with running_worker(f"{run}-2", log, (sys.executable, "-c", SLOW_LOAD)) as process:
        eventually(lambda: "identity copy: " in get_page(log, "ready")[1], every=0.05)
        process.terminate()
        assert process.wait(timeout=10) == 0, log.read_text()
