"""The real worker under load: what it says of itself, how it stops, and what it does while Kafka or a rebalance holds it up."""

import time
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.settings import KafkaSettings
from schemas.topics import IDENTITY_REQUESTS
from tests.working import ERP, drained, eventually, metric, order, page, publish, resolved, waiting, worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def topics(own_stack: Stack) -> None:
    ensure_topics(KafkaSettings(), dry_run=False)


@pytest.fixture
def run() -> str:
    return f"run-{uuid4().hex[:8]}"


def test_a_worker_is_live_at_once_and_ready_when_its_partitions_are_recovered(tmp_path: Path, run: str) -> None:
    log = tmp_path / "log"
    with worker(run, log) as process:
        eventually(lambda: page(log, "live") == (200, "ok\n"))
        code, reason = page(log, "ready")
        assert code == 503
        assert "partitions are being shared out" in reason
        eventually(lambda: page(log, "ready") == (200, "ok\n"))
        assert metric(log, "touchline_loop_lag_seconds") < 1
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_a_stop_under_load_takes_less_than_ten_seconds_and_what_was_put_out_is_not_put_out_again(
    tmp_path: Path, run: str
) -> None:
    orders = [order(number, run, number % 700) for number in range(60_000)]
    publish(orders)
    stops = 0
    log = tmp_path / "log"
    for _ in range(3):
        before = waiting(ERP, IDENTITY_REQUESTS)
        with worker(run, log) as process:
            eventually(lambda before=before: waiting(ERP, IDENTITY_REQUESTS) < before, every=0.05)
            began = time.monotonic()
            process.terminate()
            assert process.wait(timeout=10) == 0, log.read_text()
            assert time.monotonic() - began < 10
        stops += waiting(ERP, IDENTITY_REQUESTS) > 0
        out = resolved(run)
        assert len(out) == len(set(out)), "a record was put out twice"
    assert stops, "everything was done before the first stop: the test stopped nothing"
    with worker(run, log):
        eventually(drained)
    out = resolved(run)
    assert sorted(out) == sorted(fields["event_id"] for fields in orders)
