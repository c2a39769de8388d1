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
from typing import ClassVar
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from connectors.contract import UNBOUNDED, Batch, Connector, Cursor, Window
from connectors.errors import CursorExpiredError, RateLimitedError
from connectors.example_reviews.connector import Connector as Reviews
from connectors.example_reviews.settings import ReviewsSettings
from connectors.runtime import recent_ids
from connectors.runtime.runner import Runner
from connectors.settings import secret_variable
from deploy.local.state import Stack
from schemas.errors import RetryableError
from schemas.records.connector_state import ConnectorState
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.connector_peers import Server
from tests.harness.connectors import TOUCHLINE, finished, records, states

pytestmark = pytest.mark.integration
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OVERLAP = timedelta(seconds=30)


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture
def name() -> str:
    return f"http-{uuid4().hex[:12]}"


@pytest.fixture
def server(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(secret_variable(name, "secret"), "peer-secret")
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
    try:
        runner.run_once()
    except RetryableError:
        runner.close()
        raise
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


def test_a_dense_overlap_is_published_once_by_a_process_and_once_more_under_the_same_ids_by_the_next(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the twenty reviews that each round reads again, five are saved."""
    monkeypatch.setattr(recent_ids, "MAX_SAVED_IDS", 5)
    for number in range(100, 120):
        server.peer.put(number, DAY + 40 * HOUR)
    runner = run(server.connector(name=name), kafka)
    for _ in range(2):
        runner.run_once()
    runner.close()
    assert len(published(kafka, name)) == 45
    assert outcome(states(kafka, name)["reviews"]) == (85, 45, 0, 40)
    run(server.connector(name=name), kafka).close()
    found = published(kafka, name)
    assert (len(found), len(set(found))) == (60, 45)
    state = states(kafka, name)["reviews"]
    assert state.read == state.published + state.repeated


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
    runner.run_once()
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
    """The service after it has forgotten its cursors, and all that is older than `oldest`. `windows` are those asked for."""

    forgotten = False
    oldest: datetime | None = None
    windows: ClassVar[list[Window]] = []

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        self.windows.append(window)
        if cursor and self.forgotten:
            raise CursorExpiredError("GET /v1/reviews of here answers 410", self.oldest)
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


@pytest.mark.parametrize(("oldest", "since"), [(None, DAY + 24 * HOUR - OVERLAP), (DAY + 36 * HOUR, DAY + 36 * HOUR)])
def test_after_a_gap_the_overlap_is_read_again_and_nothing_that_the_source_no_longer_holds(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch, oldest: datetime | None, since: datetime
) -> None:
    monkeypatch.setattr(Forgetful, "windows", [])
    run(server.connector(name=name), kafka).close()
    forgetful = Forgetful(server.connector(name=name).settings)  # type: ignore[attr-defined]
    forgetful.forgotten, forgetful.oldest = True, oldest
    run(forgetful, kafka).close()
    assert [window.start for window in forgetful.windows] == [None, since]


class Paired(Reviews):
    """The service with a stream before its reviews that fails as long as there are `errors`; `asked` holds what was read."""

    def __init__(self, settings: ReviewsSettings) -> None:
        super().__init__(settings)
        self.mappings = {"limited": self.mappings["reviews"], **self.mappings}
        self.errors: list[RetryableError] = []
        self.asked: list[str] = []

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        self.asked.append(stream)
        if stream == "reviews":
            yield from super().read(stream, cursor, window)
        elif self.errors:
            raise self.errors.pop()


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RetryableError("down"), ["limited", "reviews"] * 3),
        (RateLimitedError("wait", 0.01, "stream"), ["limited", "reviews"] * 3),
        (RateLimitedError("wait", 0.01, "account"), ["limited", "limited", "limited", "reviews"]),
    ],
)
def test_a_stream_that_fails_keeps_no_other_from_being_read_but_a_limit_of_the_account_does(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch, error: RetryableError, asked: list[str]
) -> None:
    monkeypatch.setattr("connectors.runtime.backoff.BACKOFF_SECONDS", 0.01)
    paired = Paired(server.connector(name=name).settings)  # type: ignore[attr-defined]
    paired.errors = [error, error]
    run(paired, kafka).close()
    assert paired.asked == asked
    assert len(published(kafka, name)) == 25


def test_a_source_that_fails_often_is_read_to_its_end_as_long_as_something_comes(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.runtime.backoff.BACKOFF_SECONDS", 0.01)
    server.faults = dict.fromkeys(range(3, 40, 2), "500")
    run(server.connector(name=name, page=2, timeout_seconds=5), kafka).close()
    assert len(published(kafka, name)) == 25
    server.faults = dict.fromkeys(range(100), "500")
    with pytest.raises(RetryableError, match="answers 500: the source is down or busy"):
        run(server.connector(name=name, timeout_seconds=5), kafka)


def test_freshness_is_when_the_source_was_last_read_to_its_end_and_a_failure_or_a_backfill_is_not_that(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.runtime.backoff.BACKOFF_SECONDS", 0.01)
    run(server.connector(name=name), kafka, DAY).close()
    assert sample("touchline_connector_last_event_timestamp_seconds", name) is None
    began = time.time()
    run(server.connector(name=name), kafka).close()
    assert fresh(name) >= began
    assert sample("touchline_connector_last_event_timestamp_seconds", name) == (DAY + 24 * HOUR).timestamp()
    ended = time.time()
    run(server.connector(name=name), kafka, DAY).close()
    server.faults = dict.fromkeys(range(1_000), "500")
    with pytest.raises(RetryableError):
        run(server.connector(name=name, timeout_seconds=5), kafka)
    assert began <= fresh(name) <= ended
    assert began <= states(kafka, name)["reviews"].last_success_at.timestamp() <= ended


def fresh(name: str) -> float:
    return sample("touchline_connector_last_success_timestamp_seconds", name) or 0.0


def test_a_backfill_leaves_half_of_the_rate_and_live_reading_none(server: Server, kafka: KafkaSettings, name: str) -> None:
    live, backfill = server.connector(name=name), server.connector(name=name)
    run(live, kafka).close()
    run(backfill, kafka, DAY).close()
    assert (live.rate_limit.reserve, backfill.rate_limit.reserve) == (0.0, 0.5)


def sample(metric: str, name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"connector": name, **labels})


def test_to_be_told_to_wait_is_no_failure_and_waits_as_long_as_told(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.harness.connector_peers.SECONDS", 1)
    monkeypatch.setattr("connectors.runtime.runner.MAX_ATTEMPTS", 2)
    server.faults = dict.fromkeys(range(2, 6), "429 seconds")
    began = time.monotonic()
    run(server.connector(name=name, timeout_seconds=5), kafka).close()
    assert time.monotonic() - began >= 4
    assert len(published(kafka, name)) == 25
    assert sample("touchline_connector_retries_total", name, reason="rate") == 4
    assert sample("touchline_connector_retries_total", name, reason="failure") is None


def test_what_the_source_counts_beyond_what_was_read_is_a_metric_of_the_live_process(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def difference() -> float | None:
        return sample("touchline_connector_reconciliation_difference_records", name, stream="reviews")

    monkeypatch.setattr("connectors.runtime.runner.RECONCILE_SECONDS", 0.0)
    live = run(server.connector(name=name), kafka)
    assert difference() is None
    for count, missing in ((28, 4), (24, 0), (21, -3)):
        monkeypatch.setattr(Reviews, "count", lambda *_, count=count: count)
        runner = run(server.connector(name=name), kafka, DAY)
        assert states(kafka, name)["backfill/reviews"].backfill_difference is None
        assert [(read, count) for _, _, read, count in runner.reconcile()] == [(24, count)]
        runner.close()
        assert states(kafka, name)["backfill/reviews"].backfill_difference == missing
        live.run_once()
        assert difference() == missing
    live.close()


def test_who_never_lost_a_cursor_shows_a_count_of_none(server: Server, kafka: KafkaSettings, name: str) -> None:
    run(server.connector(name=name), kafka).close()
    assert sample("touchline_connector_gaps_total", name) == 0


def test_a_check_says_in_one_line_what_is_wrong_and_how_to_mend_it(server: Server, kafka: KafkaSettings, name: str) -> None:
    code, out, _ = finished(connect(server, kafka, name, "--check"))
    assert (code, out) == (0, f"{name}: fine: 25 reviews at {server.url}\n")
    server.faults = {len(server.requests) + 1: "500"}
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (1, 1)
    assert "POST /v1/token of 127.0.0.1" in err
    os.environ[secret_variable(name, "secret")] = "wrong"
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set {secret_variable(name, 'secret')} to the account's API secret" in err
    del os.environ[secret_variable(name, "secret")]
    code, _, err = finished(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set the environment variable {secret_variable(name, 'secret')}" in err
    code, _, err = finished(connect(server, kafka, name, "--check", secret="here"))
    assert (code, err.count("\n")) == (2, 1)
    assert "a secret does not belong in a file" in err
