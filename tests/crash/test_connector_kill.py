"""`touchline connect`, killed at chosen and random moments, loses nothing and keeps exact totals."""

import random
import time
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.state import Stack
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import (
    KILLED,
    STEPS,
    connect,
    dead_letters,
    killed_command,
    published,
    states,
    totals,
    wait_for_exit,
    write_orders,
    write_settings,
)

pytestmark = [pytest.mark.integration, pytest.mark.crash]
KILLS = 8
FILES = 3
ORDERS = 8_000


def event_ids(orders: int) -> set[bytes]:
    numbers = [number for number in range(1, orders + 1) if number % 50]
    return {event_id("sap", f"orders:{number}", "2026-01-01T00:00:00Z").bytes for number in numbers}


@pytest.mark.parametrize(("method", "fatal_call", "before"), [("send", 3_500, True), *STEPS])
def test_killed_at_any_step_of_a_batch_the_next_run_makes_it_whole(
    tmp_path: Path, migrated: Stack, method: str, fatal_call: int, *, before: bool
) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"kill-{uuid4().hex[:12]}"
    settings = write_settings(tmp_path, name)
    counts = write_orders(tmp_path / "drops" / "orders.csv", 1, 5_000)
    program = killed_command(method, fatal_call, before=before)
    assert wait_for_exit(connect(settings, kafka, "--once", program=program))[0] == KILLED
    assert wait_for_exit(connect(settings, kafka, "--once"))[0] == 0
    assert set(published(kafka, name)) == event_ids(5_000)
    assert len(set(dead_letters(kafka, name))) == counts[1]
    assert totals(states(kafka, name)) == counts


def test_killed_at_random_moments_every_record_is_published_and_the_totals_are_exact(tmp_path: Path, migrated: Stack) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"kill-{uuid4().hex[:12]}"
    settings = write_settings(tmp_path, name)
    counts = [write_orders(tmp_path / "drops" / f"orders-{i}.csv", i * ORDERS + 1, ORDERS) for i in range(FILES)]
    seed = random.randrange(1_000_000)
    moments = random.Random(seed)
    unfinished = 0
    for _ in range(KILLS):
        process = connect(settings, kafka, "--once")
        time.sleep(moments.uniform(0.6, 2.0))
        unfinished += process.poll() is None
        process.kill()
        process.communicate()
    code, _, err = wait_for_exit(connect(settings, kafka, "--once"), 120)
    assert code == 0, f"seed {seed}: {err}"
    assert unfinished, "every run ended before it was killed: the test killed nothing"
    assert set(published(kafka, name)) == event_ids(FILES * ORDERS), f"seed {seed}"
    assert len(set(dead_letters(kafka, name))) == sum(bad for _, bad, _ in counts)
    assert totals(states(kafka, name)) == [sum(column) for column in zip(*counts, strict=True)], f"seed {seed}"
