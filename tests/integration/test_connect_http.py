"""`touchline connect example_reviews` on its test server and a real Kafka: live mode, backfills, gaps, limits, secrets."""

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
from tests.harness.connectors import TOUCHLINE, records, states, wait_for_exit
from tests.harness.waiting import eventually

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


def test_each_review_is_published_once_although_rounds_overlap(server: Server, kafka: KafkaSettings, name: str) -> None:
    code, out, err = wait_for_exit(connect(server, kafka, name, "--once"))
    assert code == 0, err
    assert f"{name} reviews: 25 read = 25 published + 0 dead letters + 0 repeated" in out
    server.peer.put(3, DAY + 30 * HOUR)
    for _ in range(2):
        assert wait_for_exit(connect(server, kafka, name, "--once"))[0] == 0
    found = published(kafka, name)
    assert (len(found), len(set(found))) == (26, 25)
    state = states(kafka, name)["reviews"]
    assert state.read == state.published + state.repeated
    assert state.published == 26
    assert state.position_at == DAY + 30 * HOUR


def test_restart_publishes_a_dense_overlap_again_with_the_same_ids(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state saves five ids of the twenty reviews that each round reads again."""
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


def test_backfill_and_live_mode_run_at_once_with_cursors_of_their_own(server: Server, kafka: KafkaSettings, name: str) -> None:
    live = connect(server, kafka, name, start=(DAY + 10 * HOUR).isoformat(), poll_seconds=0.2)
    try:
        eventually(lambda: states(kafka, name).get("reviews"))
        before = states(kafka, name)["reviews"]
        code, out, err = wait_for_exit(
            connect(server, kafka, name, "--backfill", "2026-03-01", start=(DAY + 10 * HOUR).isoformat())
        )
        server.peer.put(99, DAY + 40 * HOUR)
        eventually(lambda: "r00099" in published(kafka, name))
        live.send_signal(signal.SIGTERM)
        assert wait_for_exit(live, 10)[0] == 0
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


def test_stopped_backfill_resumes_and_finished_one_begins_again(server: Server, kafka: KafkaSettings, name: str) -> None:
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


class Expiring(Reviews):
    """Service that no longer accepts cursors and holds nothing older than `oldest`. `windows` are the requested ones."""

    has_expired = False
    oldest: datetime | None = None
    windows: ClassVar[list[Window]] = []

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        self.windows.append(window)
        if cursor and self.has_expired:
            raise CursorExpiredError("GET /v1/reviews of here answers 410", self.oldest)
        yield from super().read(stream, cursor, window)


def test_expired_cursor_is_a_gap_and_reading_resumes_by_time(server: Server, kafka: KafkaSettings, name: str) -> None:
    run(server.connector(name=name), kafka).close()
    missed = server.peer.put(50, DAY + 30 * HOUR)
    connector = server.connector(name=name)
    expiring = Expiring(connector.settings)  # type: ignore[attr-defined]
    expiring.has_expired = True
    server.requests.clear()
    run(expiring, kafka).close()
    assert missed in published(kafka, name)
    assert len(published(kafka, name)) == 26
    assert server.requests.count("/v1/reviews") == 1
    [letter] = list(records(kafka, DEAD_LETTERS, name))
    assert (letter["reason"], letter["origin"], letter["source"]) == ("gap", "reviews", "social")
    assert json.loads(letter["payload"])["cursor"]["key"] == "r00024"
    assert sample("touchline_connector_gaps_total", name) == 1
    assert states(kafka, name)["reviews"].dead_lettered == 0


@pytest.mark.parametrize(("oldest", "since"), [(None, DAY + 24 * HOUR - OVERLAP), (DAY + 36 * HOUR, DAY + 36 * HOUR)])
def test_reading_after_a_gap_begins_at_the_overlap_or_the_oldest_record(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch, oldest: datetime | None, since: datetime
) -> None:
    monkeypatch.setattr(Expiring, "windows", [])
    run(server.connector(name=name), kafka).close()
    expiring = Expiring(server.connector(name=name).settings)  # type: ignore[attr-defined]
    expiring.has_expired, expiring.oldest = True, oldest
    run(expiring, kafka).close()
    assert [window.start for window in expiring.windows] == [None, since]


class Paired(Reviews):
    """Service with an additional first stream that fails while there are `errors`; `read_streams` lists the streams read."""

    def __init__(self, settings: ReviewsSettings) -> None:
        super().__init__(settings)
        self.mappings = {"limited": self.mappings["reviews"], **self.mappings}
        self.errors: list[RetryableError] = []
        self.read_streams: list[str] = []

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        self.read_streams.append(stream)
        if stream == "reviews":
            yield from super().read(stream, cursor, window)
        elif self.errors:
            raise self.errors.pop()


@pytest.mark.parametrize(
    ("error", "streams"),
    [
        (RetryableError("down"), ["limited", "reviews"] * 3),
        (RateLimitedError("wait", 0.01, "stream"), ["limited", "reviews"] * 3),
        (RateLimitedError("wait", 0.01, "account"), ["limited", "limited", "limited", "reviews"]),
    ],
)
def test_failing_stream_does_not_block_others_but_an_account_limit_does(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch, error: RetryableError, streams: list[str]
) -> None:
    monkeypatch.setattr("connectors.runtime.backoff.BACKOFF_SECONDS", 0.01)
    paired = Paired(server.connector(name=name).settings)  # type: ignore[attr-defined]
    paired.errors = [error, error]
    run(paired, kafka).close()
    assert paired.read_streams == streams
    assert len(published(kafka, name)) == 25


def test_failures_with_progress_in_between_never_end_the_run(
    server: Server, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.runtime.backoff.BACKOFF_SECONDS", 0.01)
    server.faults = dict.fromkeys(range(3, 40, 2), "500")
    run(server.connector(name=name, page=2, timeout_seconds=5), kafka).close()
    assert len(published(kafka, name)) == 25
    server.faults = dict.fromkeys(range(100), "500")
    with pytest.raises(RetryableError, match="answers 500: the source is down or busy"):
        run(server.connector(name=name, timeout_seconds=5), kafka)


def test_freshness_is_the_end_of_the_last_complete_live_round(
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


def test_only_a_backfill_reserves_half_of_the_rate_limit(server: Server, kafka: KafkaSettings, name: str) -> None:
    live, backfill = server.connector(name=name), server.connector(name=name)
    run(live, kafka).close()
    run(backfill, kafka, DAY).close()
    assert (live.rate_limit.reserve, backfill.rate_limit.reserve) == (0.0, 0.5)


def sample(metric: str, name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"connector": name, **labels})


def test_rate_limit_waits_as_requested_and_counts_as_no_failure(
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


def test_backfill_difference_is_a_metric_of_the_live_process(
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


def test_gap_counter_starts_at_zero(server: Server, kafka: KafkaSettings, name: str) -> None:
    run(server.connector(name=name), kafka).close()
    assert sample("touchline_connector_gaps_total", name) == 0


def test_check_prints_one_line_with_the_problem_and_its_fix(server: Server, kafka: KafkaSettings, name: str) -> None:
    code, out, _ = wait_for_exit(connect(server, kafka, name, "--check"))
    assert (code, out) == (0, f"{name}: fine: 25 reviews at {server.url}\n")
    server.faults = {len(server.requests) + 1: "500"}
    code, _, err = wait_for_exit(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (1, 1)
    assert "POST /v1/token of 127.0.0.1" in err
    os.environ[secret_variable(name, "secret")] = "wrong"
    code, _, err = wait_for_exit(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set {secret_variable(name, 'secret')} to the account's API secret" in err
    del os.environ[secret_variable(name, "secret")]
    code, _, err = wait_for_exit(connect(server, kafka, name, "--check"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"set the environment variable {secret_variable(name, 'secret')}" in err
    code, _, err = wait_for_exit(connect(server, kafka, name, "--check", secret="here"))
    assert (code, err.count("\n")) == (2, 1)
    assert "a secret does not belong in a file" in err
