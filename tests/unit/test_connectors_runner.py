"""Runner without Kafka: order of its steps, failures of Kafka, totals without a cursor, pauses."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Batch
from connectors.errors import RateLimitedError
from connectors.runtime import backoff, checkpoints
from connectors.runtime.backoff import Backoff
from connectors.runtime.checkpoints import Checkpoints
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from connectors.runtime.runner import Runner
from connectors.settings import open_connector
from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode
from schemas.wire.topics import CONNECTOR_STATE, DEAD_LETTERS
from tests.harness.connectors import write_orders, write_settings

Sent = list[tuple[str, bytes]]


class Kafka:
    """Publisher in memory: `effects` lists its calls in order, `records` the acknowledged records, `failures` the next errors."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.records: Sent = []
        self.failures: dict[int, RetryableError] = {}
        self._flushes = 0
        self._sent: Sent = []

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        self.effects.append(topic)
        self._sent.append((topic, value))

    def flush(self) -> None:
        self._flushes += 1
        if error := self.failures.pop(self._flushes, None):
            self.effects.append("failure")
            raise error
        self.effects.append("acknowledgement")
        self.records += self._sent
        self._sent = []

    def close(self) -> None:
        self.effects.append("close")
        self._sent = []

    def event_ids(self) -> list[bytes]:
        return [decode(value)[1]["event_id"] for topic, value in self.records if topic == "touchline.erp"]

    def states(self) -> list[dict[str, Any]]:
        return [decode(value)[1] for topic, value in self.records if topic == CONNECTOR_STATE]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    monkeypatch.setattr("connectors.runtime.runner.Publisher", lambda *_: kafka)
    monkeypatch.setattr("connectors.runtime.runner.load_states", lambda *_: {})
    monkeypatch.setattr(backoff, "BACKOFF_SECONDS", 0.0)
    return kafka


@pytest.fixture
def run(tmp_path: Path, kafka: Kafka) -> Callable[[], None]:
    settings = write_settings(tmp_path, "runner")
    write_orders(tmp_path / "drops" / "orders.csv", 49, 2)

    def run() -> None:
        on_saved = lambda _, __: kafka.effects.append("on_saved")  # noqa: E731
        Runner(
            open_connector("files", settings, {}), KafkaSettings(bootstrap_servers="127.0.0.1:1"), threading.Event(), on_saved
        ).run_once()

    return run


def test_cursor_is_saved_after_the_acknowledgement_of_all_records(kafka: Kafka, run: Callable[[], None]) -> None:
    run()
    batch = ["touchline.erp", DEAD_LETTERS, "acknowledgement", CONNECTOR_STATE, "acknowledgement", "on_saved"]
    assert kafka.effects[: len(batch)] == batch


@pytest.mark.parametrize("failed_flush", [1, 2])
def test_batch_without_acknowledgement_is_read_again_with_the_same_totals(
    kafka: Kafka, run: Callable[[], None], failed_flush: int
) -> None:
    kafka.failures = {failed_flush: RetryableError("Kafka is down")}
    run()
    assert kafka.effects[kafka.effects.index("failure") + 1] == "close"
    assert len(set(kafka.event_ids())) == 1
    totals = kafka.states()[-1]
    assert (totals["read"], totals["published"], totals["dead_lettered"], totals["repeated"]) == (2, 1, 1, 0)


def test_run_ends_after_six_failures_without_progress(kafka: Kafka, run: Callable[[], None]) -> None:
    kafka.failures = {number: RetryableError("Kafka is down") for number in range(1, 100)}
    with pytest.raises(RetryableError, match="Kafka is down"):
        run()
    assert kafka.effects.count("failure") == 6
    assert kafka.states() == []


def test_totals_without_a_cursor_are_saved_once_a_second_and_at_the_end(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [100.0]
    monkeypatch.setattr("connectors.runtime.checkpoints.time.monotonic", lambda: now[0])
    saved = Checkpoints("c", kafka, {})  # type: ignore[arg-type]
    spec = open_connector("files", write_settings(tmp_path, "c"), {}).describe_stream("orders:a")
    deduplication = StreamDeduplication(None, spec)

    def publish() -> None:
        saved.save_batch("web", Batch((), {}), NewRecords(touchpoints=[(b"", b"")]), deduplication, published_live=0)

    for _ in range(3):
        publish()
    assert [state["published"] for state in kafka.states()] == [1]
    now[0] += checkpoints.SAVE_SECONDS
    saved.save_pending()
    assert [state["published"] for state in kafka.states()] == [1, 3]
    publish()
    saved.save_pending(now=True)
    assert [state["published"] for state in kafka.states()] == [1, 3, 4]


def test_pause_doubles_with_each_failure_up_to_a_limit_and_respects_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("connectors.runtime.backoff.random.uniform", lambda low, high: high)
    monkeypatch.setattr(stop := threading.Event(), "wait", pauses.append)
    retries = Backoff("c", stop)
    for _ in range(8):
        retries.count(RetryableError("down"))
        retries.pause(RetryableError("down"))
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    retries.reset()
    for error in (RateLimitedError("wait", 90), RetryableError("down")):
        retries.count(error)
        retries.pause(error)
    assert pauses[8:] == [90, 2]
