"""Real workers under load: health pages, stops, rebalances and ticks."""

import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from deploy.local import state
from schemas.wire.codec import decode
from schemas.wire.topics import IDENTITY_REQUESTS, TICKS
from tests.harness.topics import read_topic
from tests.harness.waiting import eventually
from tests.harness.workers import (
    ERP,
    PARTITIONS,
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


def _has_progressed(before: int) -> bool:
    """Return whether the lag is smaller than before."""
    return read_lag(ERP, IDENTITY_REQUESTS) < before


def test_worker_is_live_at_once_and_ready_after_recovery(tmp_path: Path, run: str) -> None:
    log = tmp_path / "log"
    with running_worker(run, log) as process:
        eventually(lambda: get_page(log, "live") == (200, "ok\n"))
        assert get_page(log, "ready")[0] == 503
        eventually(lambda: get_page(log, "ready") == (200, "ok\n"))
        assert read_metric(log, "touchline_loop_lag_seconds") < 1
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_worker_that_starts_while_kafka_is_down_waits_for_it(tmp_path: Path, run: str) -> None:
    log = tmp_path / "log"
    with suspended_kafka(), running_worker(run, log) as process:
        eventually(lambda: get_page(log, "ready")[1].startswith("waiting for Kafka at 127.0.0.1:"))
        assert get_page(log, "live") == (200, "ok\n")
        eventually(lambda: "WARNING touchline.work waiting for Kafka" in log.read_text())
        assert process.poll() is None
        running = state.read()
        assert running is not None
        psutil.Process(running.service("kafka").pid).resume()
        eventually(lambda: get_page(log, "ready") == (200, "ok\n"))
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_stop_under_load_takes_less_than_ten_seconds_and_repeats_no_output(tmp_path: Path, run: str) -> None:
    orders = [make_order(number, run, number % 700) for number in range(120_000)]
    publish_orders(orders)
    stops = 0
    log = tmp_path / "log"
    for _ in range(3):
        before = read_lag(ERP, IDENTITY_REQUESTS)
        if not before:
            break
        with running_worker(run, log) as process:
            eventually(partial(_has_progressed, before), every=0.05)
            began = time.monotonic()
            process.terminate()
            assert process.wait(timeout=10) == 0, log.read_text()
            assert time.monotonic() - began < 10
        stops += read_lag(ERP, IDENTITY_REQUESTS) > 0
        resolved = read_resolved_ids(run)
        assert len(resolved) == len(set(resolved)), "a record was published twice"
    assert stops, "the worker finished before the first stop"
    with running_worker(run, log):
        eventually(is_drained)
    resolved = read_resolved_ids(run)
    assert sorted(resolved) == sorted(fields["event_id"] for fields in orders)


SLOW_AT_FIRST = """
import asyncio
from streams.engine import stage
process_chunk = stage.Stage.process_chunk
waited = []
async def process_slowly(self, chunk, partition):
    if self.step.name == "identify" and not waited:
        waited.append(True)
        print("waiting", flush=True)
        await asyncio.sleep(8)
    await process_chunk(self, chunk, partition)
stage.Stage.process_chunk = process_slowly
from deploy.cli import main
main()
"""


def test_second_worker_joins_during_a_slow_step_without_repeated_outputs(tmp_path: Path, run: str) -> None:
    orders = [make_order(number, run, number % 700) for number in range(10_000)]
    first, second = tmp_path / "first", tmp_path / "second"
    publish_orders(orders)
    with running_worker(f"{run}-1", first, (sys.executable, "-c", SLOW_AT_FIRST)) as one:
        eventually(lambda: "waiting" in first.read_text())
        with running_worker(f"{run}-2", second) as two:
            eventually(lambda: get_page(second, "ready")[0] == 200)
            eventually(is_drained)
            assert read_metric(first, 'touchline_rebalances_total{how="agreed"}') >= 1
            assert read_metric(first, 'touchline_rebalances_total{how="lost"}') == 0
            for process in (one, two):
                process.terminate()
            assert [process.wait(timeout=10) for process in (one, two)] == [0, 0]
    resolved = read_resolved_ids(run)
    assert sorted(resolved) == sorted(fields["event_id"] for fields in orders)


def test_frozen_worker_logs_its_removal_and_joins_again(tmp_path: Path, run: str) -> None:
    orders = [make_order(number, run, number % 700) for number in range(10_000)]
    log = tmp_path / "log"
    with running_worker(run, log) as process:
        eventually(lambda: get_page(log, "ready")[0] == 200)
        psutil.Process(process.pid).suspend()
        publish_orders(orders)
        time.sleep(13)
        psutil.Process(process.pid).resume()
        eventually(is_drained)
        assert read_metric(log, 'touchline_rebalances_total{how="lost"}') == 1
        assert "the group received no heartbeat in time" in log.read_text()
    assert set(read_resolved_ids(run)) == {fields["event_id"] for fields in orders}


def test_stop_while_kafka_is_unreachable_takes_less_than_ten_seconds(tmp_path: Path, run: str) -> None:
    orders = [make_order(number, run, number % 700) for number in range(20_000)]
    publish_orders(orders)
    with running_worker(run, tmp_path / "log") as process:
        before = read_lag(ERP)
        eventually(lambda: read_lag(ERP) < before, every=0.05)
        with suspended_kafka():
            time.sleep(1)
            process.terminate()
            assert process.wait(timeout=10) in (0, 75)
    with running_worker(run, tmp_path / "log"):
        eventually(is_drained)
    assert set(read_resolved_ids(run)) == {fields["event_id"] for fields in orders}


def read_ticks() -> dict[int, list[dict[str, Any]]]:
    """Return the ticks of each partition in order."""
    ticks: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in read_topic(TICKS):
        ticks[record.partition].append(decode(record.value)[1])
    return ticks


def test_each_partition_gets_a_tick_at_each_boundary_from_its_owner(
    tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHLINE_STREAMS_TICK_SECONDS", "3")
    with running_worker(f"{run}-1", tmp_path / "first"):
        eventually(lambda: len(read_ticks()) == PARTITIONS[TICKS])
        with running_worker(f"{run}-2", tmp_path / "second") as second:
            eventually(lambda: get_page(tmp_path / "second", "ready")[0] == 200)
            shared = {partition: sent[-1]["at"] for partition, sent in read_ticks().items()}
            eventually(lambda: all(sent[-1]["at"] > shared[partition] for partition, sent in read_ticks().items()))
            second.kill()
        eventually(lambda: read_lag(TICKS) == 0)
    before = {partition: sent[-1]["at"] for partition, sent in read_ticks().items()}
    with running_worker(f"{run}-3", tmp_path / "third"):
        eventually(lambda: all(sent[-1]["at"] > before[partition] for partition, sent in read_ticks().items()))
    for sent in read_ticks().values():
        once = list({tick["at"]: tick for tick in sent}.values())
        assert len(once) >= 3
        assert all(tick["at"] % 3_000 == 0 for tick in sent)
        assert [tick["since"] for tick in once] == [None, *(tick["at"] for tick in once[:-1])]
        assert len(sent) - len(once) <= 1, "two workers send the same tick only during a rebalance"
