"""Real workers without progress, and real workers while Kafka does not answer."""

import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.wire.topics import IDENTITY_REQUESTS
from tests.harness.waiting import eventually
from tests.harness.workers import (
    ERP,
    get_page,
    is_drained,
    make_order,
    publish_orders,
    read_lag,
    read_metric,
    read_resolved_ids,
    running_worker,
    suspended_kafka,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("own_topics")]


@pytest.fixture
def run() -> str:
    return f"run-{uuid4().hex[:8]}"


SHORT_INTERVALS = """
import asyncio, time
from streams.engine import stage, transport
from streams.engine import watchdog
watchdog.CHECK_SECONDS, watchdog.KAFKA_TIMEOUT_SECONDS = 0.5, 1.0
watchdog.SUSPECT_CHECKS, watchdog.STUCK_CHECKS = 4, {checks}
{fault}
from deploy.cli import main
main()
"""
BLOCKED_STEP = """
process_chunk = stage.Stage.process_chunk
async def process_nothing(self, chunk, partition):
    await (asyncio.sleep(3600) if self.step.name == "identify" else process_chunk(self, chunk, partition))
stage.Stage.process_chunk = process_nothing
"""
BLOCKED_LOOP = """
stage.Stage._fold = lambda *_: time.sleep(3600)
"""
BLOCKED_RECOVERY = """
async def never(self):
    await asyncio.sleep(3600)
transport.Consumer.perform_seek = never
"""


def with_short_intervals(checks: int, fault: str = "") -> tuple[str, ...]:
    """Return the program of a worker that checks twice a second and ends after `checks` checks without progress."""
    return sys.executable, "-c", SHORT_INTERVALS.format(checks=checks, fault=fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (BLOCKED_STEP, "stage identify is stuck at touchline.erp/"),
        (BLOCKED_LOOP, "the event loop has been blocked for"),
        (BLOCKED_RECOVERY, "recovery is stuck with 0 changelog records left to read"),
    ],
    ids=["step", "loop", "recovery"],
)
def test_process_without_progress_ends(tmp_path: Path, run: str, fault: str, message: str) -> None:
    publish_orders([make_order(number, run, number) for number in range(100)])
    with running_worker(run, tmp_path / "log", with_short_intervals(30, fault)) as process:
        assert process.wait(timeout=60) == 70
    assert message in (tmp_path / "log").read_text()
    with running_worker(run, tmp_path / "log"):
        eventually(is_drained)
    assert len(set(read_resolved_ids(run))) == 100


def test_stuck_partition_is_counted_before_the_process_ends(tmp_path: Path, run: str) -> None:
    publish_orders([make_order(number, run, number) for number in range(100)])
    log = tmp_path / "log"
    with running_worker(run, log, with_short_intervals(1_000, BLOCKED_STEP)):
        eventually(lambda: read_metric(log, 'touchline_stuck_partitions{stage="identify"}') > 0)
        assert read_metric(log, "touchline_recovery_stuck") == 0
        assert read_metric(log, 'touchline_stuck_partitions{stage="join"}') == 0


def test_nothing_is_stuck_or_lost_while_kafka_does_not_answer(tmp_path: Path, run: str) -> None:
    """Eighteen seconds are longer than the session, and longer than this worker tolerates a stuck partition."""
    orders = [make_order(number, run, number % 700) for number in range(20_000)]
    publish_orders(orders)
    log = tmp_path / "log"
    with running_worker(run, log, with_short_intervals(30)) as process:
        eventually(lambda: read_lag(ERP, IDENTITY_REQUESTS) > 0, every=0.05)
        eventually(lambda: get_page(log, "ready")[0] == 200, every=0.05)
        with suspended_kafka():
            time.sleep(18)
        eventually(is_drained, 120)
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert set(read_resolved_ids(run)) == {fields["event_id"] for fields in orders}
