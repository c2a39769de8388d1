"""The start and the watch over the tables of one process: no table delays the end of the others."""

import asyncio
import logging
import threading
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.connection import KafkaSettings
from schemas.service.process import STOP_SECONDS
from sinks import kafka, process
from sinks.runner import Runner

SETTINGS = KafkaSettings(bootstrap_servers="broker:9092")


class StoppedRunner:
    """A table whose consumer is stopping: it never returns its lag."""

    started = True

    async def waiting(self) -> int:
        await asyncio.Event().wait()
        raise AssertionError


class StartingRunner:
    """A table whose consumer has not started: its lag cannot be read."""

    started = False

    async def waiting(self) -> int:
        raise AttributeError


class Client:
    """A Kafka client that fails to start so many times, and lists no topic at so many looks."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.starts = self.looks = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts <= self.failures:
            raise KafkaConnectionError

    async def topics(self) -> set[str]:
        self.looks += 1
        return set() if self.looks <= self.failures else {"touchline.erp"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "RETRY_SECONDS", 0.0)


def start(client: Client, monkeypatch: pytest.MonkeyPatch, problem: TouchlineError, stop: threading.Event | None = None) -> bool:
    monkeypatch.setattr(kafka, "diagnose_kafka", lambda _: problem)
    return asyncio.run(kafka.start(cast("AIOKafkaConsumer", client), SETTINGS, stop or threading.Event()))


def test_lag_of_a_consumer_that_never_answers_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LAG_TIMEOUT_SECONDS", 0.05)
    lag = process._measure_lag([cast("Runner", StoppedRunner())])
    assert asyncio.run(asyncio.wait_for(lag, timeout=5)) is None


def test_lag_of_a_consumer_that_has_not_started_is_unknown() -> None:
    assert asyncio.run(process._measure_lag([cast("Runner", StartingRunner())])) is None


def test_client_starts_once_kafka_is_back_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(failures=20)
    with caplog.at_level(logging.WARNING):
        assert start(client, monkeypatch, RetryableError("no server listens there"))
    assert client.starts == 21
    assert [record.getMessage() for record in caplog.records] == ["waiting for Kafka at broker:9092: no server listens there"]


def test_client_with_wrong_credentials_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(failures=20)
    with pytest.raises(ConfigError, match="wrong password"):
        start(client, monkeypatch, ConfigError("wrong password"))
    assert client.starts == 1


def test_client_does_not_start_after_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    client = Client(failures=0)
    assert not start(client, monkeypatch, RetryableError("down"), stop)
    assert client.starts == 0


@pytest.mark.parametrize(("failures", "is_found"), [(0, True), (3, True), (kafka.MAX_TOPIC_REQUESTS, False)])
def test_topic_that_a_new_broker_lists_late_is_found(failures: int, *, is_found: bool) -> None:
    client = cast("AIOKafkaConsumer", Client(failures))
    assert asyncio.run(kafka.has_topic(client, "touchline.erp")) == is_found


def test_longest_stop_ends_before_the_last_resort() -> None:
    assert process.FINISH_SECONDS + 2 * process.CLOSE_SECONDS < STOP_SECONDS
