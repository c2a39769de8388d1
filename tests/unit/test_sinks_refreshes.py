"""The metrics that a sink reads from ClickHouse, with a client that answers from memory."""

import threading
from typing import Any

import pytest
from prometheus_client import REGISTRY

from schemas.errors import RetryableError
from sinks import refreshes
from sinks.clickhouse import Answer, ClickHouse


class Client(ClickHouse):
    """Client whose count of incomplete customers is `counts` in turn, where None fails. It sets `stop` at the end."""

    def __init__(self, *counts: int | None, ages_fail: bool = False) -> None:
        self.counts = list(counts)
        self.ages_fail = ages_fail
        self.stop = threading.Event()

    def query(self, sql: str, params: Any = None) -> Answer:
        if sql == refreshes.AGES:
            if self.ages_fail:
                raise RetryableError("view refreshes is away")
            return Answer(["table", "age_seconds"], [("changes_by_day", 7)])
        assert sql == refreshes.INCOMPLETE
        count = self.counts.pop(0)
        if not self.counts:
            self.stop.set()
        if count is None:
            raise RetryableError("view revisions is away")
        return Answer(["count()"], [(count,)])

    def close(self) -> None:
        pass


def watch(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshes, "UPDATE_SECONDS", 0)
    monkeypatch.setattr(refreshes, "ClickHouse", lambda: client)
    refreshes.watch_refreshes(client.stop)


def incomplete() -> float | None:
    return REGISTRY.get_sample_value("touchline_stored_incomplete_customers")


def test_gauge_follows_the_number_of_incomplete_customers() -> None:
    client = Client(3, 0)
    refreshes.update_incomplete(client)
    assert incomplete() == 3
    refreshes.update_incomplete(client)
    assert incomplete() == 0


def test_last_number_stays_while_the_query_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    watch(Client(5, None, None), monkeypatch)
    assert incomplete() == 5
    (warning,) = caplog.records
    assert warning.getMessage().startswith("the number of incomplete customers is unknown")
    assert "view revisions is away" in warning.getMessage()


def test_number_is_updated_while_the_ages_fail(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    watch(Client(8, 2, ages_fail=True), monkeypatch)
    assert incomplete() == 2
    assert [each.getMessage().partition(" is ")[0] for each in caplog.records] == ["the age of the rebuilt tables"]


def test_ages_are_updated_while_the_number_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(Client(None), monkeypatch)
    age = REGISTRY.get_sample_value("touchline_refresh_age_seconds", {"table": "changes_by_day"})
    assert age is not None
    assert 7 <= age < 60
