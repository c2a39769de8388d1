"""The metric of the age of rebuilt tables, for which no table waits."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY

from deploy.local.state import Stack
from sinks import refreshes
from tests.harness.sinks import ask, ask_value, end_sinks, publish, refresh, resolved, store, to_uuid
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
HANGS = """CREATE VIEW touchline.refreshes AS SELECT 'none' AS table, toUInt64(sleepEachRow(3)) AS age_seconds
FROM numbers(100) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0"""


@pytest.fixture(autouse=True)
def ready(migrated: Stack) -> Iterator[None]:
    yield
    end_sinks()


def age(table: str) -> float | None:
    return REGISTRY.get_sample_value("touchline_refresh_age_seconds", {"table": table})


@contextmanager
def watching() -> Iterator[None]:
    stop = threading.Event()
    watch = threading.Thread(target=refreshes.watch_refreshes, args=(stop,))
    watch.start()
    try:
        yield
    finally:
        stop.set()
        watch.join(10)
        assert not watch.is_alive()


@contextmanager
def without_the_view() -> Iterator[None]:
    ask("RENAME TABLE touchline.refreshes TO touchline.away")
    try:
        yield
    finally:
        ask("DROP VIEW IF EXISTS touchline.refreshes")
        ask("RENAME TABLE touchline.away TO touchline.refreshes")


def test_gauge_grows_until_the_table_is_rebuilt(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(refreshes, "UPDATE_SECONDS", 0.05)
    refresh()
    with watching():
        eventually(lambda: age("changes_by_day") is not None)
        with without_the_view():
            eventually(lambda: caplog.records)
            time.sleep(2.5)
            grown = age("changes_by_day")
            assert grown is not None
            assert grown >= 2.5
        refresh()
        eventually(lambda: (age("changes_by_day") or 9) < 2 and (age("touchpoints_by_day") or 9) < 2)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "touchline.refreshes" in warning.getMessage()


@pytest.mark.parametrize("there", ["", HANGS], ids=["missing", "hanging"])
def test_failing_or_hanging_age_query_delays_no_table(there: str) -> None:
    touched = resolved()
    publish("touchline.resolved", "resolved", [touched])
    with without_the_view():
        if there:
            ask(there)
        began = time.monotonic()
        log = store("touchpoints")
        assert time.monotonic() - began < 60
    assert log.count("the age of the rebuilt tables is unknown") == (0 if there else 1)
    found = "SELECT count() FROM touchline.touchpoints WHERE event_id = {id:UUID}"
    assert ask_value(found, {"id": str(to_uuid(touched["event_id"]))}) == 1
