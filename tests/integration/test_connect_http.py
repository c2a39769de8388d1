"""`touchline connect example_reviews` on its real peer and the real Kafka: live, a backfill beside it, a gap, limits, secrets."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from connectors.contract import WHOLE, Batch, Connector, Cursor, Window
from connectors.errors import CursorExpiredError
from connectors.example_reviews.connector import Connector as Reviews
from connectors.runner import Runner
from connectors.settings import variable
from deploy.local.state import Stack
from schemas.connector_state import ConnectorState
from schemas.settings import KafkaSettings
from schemas.topics import DEAD_LETTERS
from tests.connecting import TOUCHLINE, finished, records, states
from tests.contract.peers import Server

pytestmark = pytest.mark.integration
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture
def name() -> str:
    return f"http-{uuid4().hex[:12]}"


@pytest.fixture
def server(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(variable(name, "secret"), "peer-secret")
    with Server("example_reviews", tmp_path).running() as running:
        for number in range(25):
            running.peer.put(number, DAY + number * HOUR)
        yield running


def connect(server: Server, kafka: KafkaSettings, name: str, *options: str, **settings: object) -> subprocess.Popen[str]:
    path = server.write_settings(name=name, timeout_seconds=5, **settings)
    command = [*TOUCHLINE, "connect", "example_reviews", "--settings", str(path), *options]
    environment = {**os.environ, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def published(kafka: KafkaSettings, name: str) -> list[str]:
    return [record["post_id"] for record in records(kafka, "touchline.social", name)]


def outcome(state: ConnectorState) -> tuple[int, int, int, int]:
    return state.read, state.published, state.dead_lettered, state.repeated


def run(connector: Connector, kafka: KafkaSettings, since: datetime | None = None, stop: threading.Event | None = None) -> Runner:
    runner = Runner(connector, kafka, stop or threading.Event(), lambda _, __: None, since)
    runner.once()
    return runner


def test_each_review_is_published_once_and_rounds_that_read_the_overlap_again_publish_nothing(
    server: Server, kafka: KafkaSettings, name: str
) -> None:
    code, out, err = finished(connect(server, kafka, name, "--once"))
    assert code == 0, err
    assert f"{name} reviews: 25 read = 25 published + 0 dead letters + 0 repeated" in out
    server.peer.put(3, DAY + 30 * HOUR)
    for _ in range(2):
        assert finished(connect(server, kafka, name, "--once"))[0] == 0
    found = published(kafka, name)
    assert (len(found), len(set(found))) == (26, 25)
    state = states(kafka, name)["reviews"]
    assert state.read == state.published + state.repeated
    assert state.published == 26
    assert state.position_at == DAY + 30 * HOUR


def test_a_backfill_runs_beside_live_reading_without_touching_its_cursor(server: Server, kafka: KafkaSettings, name: str) -> None:
    live = connect(server, kafka, name, start=(DAY + 10 * HOUR).isoformat(), poll_seconds=0.2)
    try:
        wait(lambda: states(kafka, name).get("reviews"))
        before = states(kafka, name)["reviews"]
        code, out, err = finished(connect(server, kafka, name, "--backfill", "2026-03-01", start=(DAY + 10 * HOUR).isoformat()))
        server.peer.put(99, DAY + 40 * HOUR)
        wait(lambda: "r00099" in published(kafka, name))
        live.send_signal(signal.SIGTERM)
        assert finished(live, 10)[0] == 0
    finally:
        live.kill()
    assert code == 0, err
    assert "24 read, 24 at the source: nothing missing" in out
    found = states(kafka, name)
    assert outcome(found["backfill/reviews"]) == (24, 10, 0, 14)
    assert found["reviews"].published == 16
    assert json.loads(before.cursor).keys() == json.loads(found["reviews"].cursor).keys()
    assert json.loads(found["backfill/reviews"].cursor)["done"]
    total = sum(one.read - one.repeated - one.dead_lettered for one in found.values())
    assert total == len(set(published(kafka, name))) == 26


def wait(condition: object) -> None:
    deadline = time.monotonic() + 30
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_backfill_that_is_stopped_goes_on_and_a_finished_one_begins_anew(
    server: Server, kafka: KafkaSettings, name: str
) -> None:
    run(server.connector(name=name), kafka).close()
    stop = threading.Event()
    runner = Runner(server.connector(name=name), kafka, stop, lambda _, __: stop.set(), DAY)
    runner.once()
    runner.close()
    half = states(kafka, name)["backfill/reviews"]
    assert (half.read, json.loads(half.cursor)["done"]) == (10, False)
    server.requests.clear()
    run(server.connector(name=name), kafka, DAY).close()
    assert states(kafka, name)["backfill/reviews"].read == 24
    assert server.requests.count("/v1/reviews") == 2
    run(server.connector(name=name), kafka, DAY).close()
    assert states(kafka, name)["backfill/reviews"].read == 24


class Forgetful(Reviews):
    """The service after it has forgotten its cursors."""

    forgotten = False

    def read(self, stream: str, cursor: Cursor | None, window: Window = WHOLE) -> Iterator[Batch]:
        if cursor and self.forgotten:
            raise CursorExpiredError("GET /v1/reviews of here answers 410")
        yield from super().read(stream, cursor, window)


def test_an_expired_cursor_is_a_gap_event_and_reading_goes_on_by_time_from_where_it_stood(
    server: Server, kafka: KafkaSettings, name: str
) -> None:
    run(server.connector(name=name), kafka).close()
    missed = server.peer.put(50, DAY + 30 * HOUR)
    connector = server.connector(name=name)
    forgetful = Forgetful(connector.settings)  # type: ignore[attr-defined]
    forgetful.forgotten = True
    server.requests.clear()
    run(forgetful, kafka).close()
    assert missed in published(kafka, name)
    assert len(published(kafka, name)) == 26
    assert server.requests.count("/v1/reviews") == 1
    [letter] = list(records(kafka, DEAD_LETTERS, name))
    assert (letter["reason"], letter["origin"], letter["source"]) == ("gap", "reviews", "social")
    assert json.loads(letter["payload"])["cursor"]["key"] == "r00024"
    assert sample("touchline_connector_gaps_total", name) == 1
    assert states(kafka, name)["reviews"].dead_lettered == 0


def sample(metric: str, name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"connector": name, **labels})


def test_to_be_told_to_wait_is_no_failure_and_waits_as_long_as_told(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contract.peers.SECONDS", 1)
    server.faults = dict.fromkeys(range(2, 6), "429 seconds")
    began = time.monotonic()
    run(server.connector(name=name, timeout_seconds=5), kafka).close()
    assert time.monotonic() - began >= 4
    assert len(published(kafka, name)) == 25
    assert sample("touchline_connector_retries_total", name, reason="rate") == 4
    assert sample("touchline_connector_retries_total", name, reason="failure") is None


def test_what_the_source_counts_beyond_what_was_read_is_a_metric(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = run(server.connector(name=name), kafka, DAY)
    monkeypatch.setattr(Reviews, "count", lambda *_: 28)
    assert [(read, count) for _, _, read, count in runner.counted()] == [(25, 28)]
    assert sample("touchline_connector_reconciliation_difference_records", name) == 3
    runner.close()


def test_a_check_says_in_one_line_what_is_wrong_and_how_to_mend_it(server: Server, kafka: KafkaSettings, name: str) -> None:
    code, out, _ = finished(connect(server, kafka, name, "--check"))
    assert (code, out) == (0, f"{name}: fine: 25 reviews at {server.url}\n")
    server.faults = {len(server.requests) + 1: "500"}
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (1, 1)
    assert "POST /v1/token of 127.0.0.1" in err
    os.environ[variable(name, "secret")] = "wrong"
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set {variable(name, 'secret')} to the account's API secret" in err
    del os.environ[variable(name, "secret")]
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set the environment variable {variable(name, 'secret')}" in err
    code, _, err = finished(connect(server, kafka, name, "--check", secret="here"))
    assert (code, err.count("\n")) == (2, 1)
    assert "a secret does not belong into a file" in err
