"""Sinks behind a failing network and server, on a real engine: the table itself holds each record once.

Merges are stopped, so that a row that was stored twice stays to be counted.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from deploy.local import state
from deploy.local.state import Stack
from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from sinks.kafka import MEGABYTE
from tests.harness.clickhouse_proxy import DELAY_REPLY, DROP_REPLY, HANG, KILL, KILL_AFTER, RESET, Proxy, proxy
from tests.harness.sink_faults import count_rows, running_sink, table_without_merges
from tests.harness.sinks import ask, ask_value, publish, reading, resolved, store
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
TABLE = "touchline_store.touchpoints_by_event"


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


def through(between: Proxy, answer_seconds: float = 1.0) -> dict[str, str]:
    """Return the environment of a sink behind this proxy, with its time-out for answers."""
    return {
        "TOUCHLINE_CLICKHOUSE_PORT": str(between.port),
        "TOUCHLINE_CLICKHOUSE_ANSWER_SECONDS": str(answer_seconds),
    }


@pytest.fixture(scope="module")
def line(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    """Run one sink for all tests that leave it alive; yield its proxy and its log."""
    log = tmp_path_factory.mktemp("faults") / "log"
    with (
        table_without_merges("touchpoints"),
        proxy(migrated.clickhouse_port, "touchpoints_by_event", kill=kill_clickhouse) as between,
        running_sink(log, "touchpoints", **through(between)),
    ):
        yield between, log


def kill_clickhouse() -> None:
    running = state.read()
    assert running is not None
    pid = running.service("clickhouse").pid
    assert pid is not None
    psutil.Process(pid).kill()


def settle() -> None:
    """Wait until the sink has committed all earlier records; it takes no new one before."""
    after = f"after-{uuid4().hex}"
    publish("touchline.resolved", "resolved", [resolved(system=after) for _ in range(50)])
    eventually(lambda: count_rows("touchpoints", after)[1] == 50)


@pytest.mark.parametrize("fault", [RESET, KILL, DROP_REPLY, DELAY_REPLY, KILL_AFTER])
def test_insert_with_unknown_outcome_is_stored_exactly_once(fault: str, line: tuple[Proxy, Path], name: str) -> None:
    between, _ = line
    settle()
    between.plan(*([fault] if fault in (KILL, KILL_AFTER) else [fault, fault]))
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(2_000)])
    eventually(lambda: not between.faults)
    settle()
    assert set(between.met) == {fault}
    assert count_rows("touchpoints", name) == (2_000, 2_000)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("min_free_disk_bytes_to_perform_insert = 1000000000000000000", "not_enough_space"),
        ("table_readonly = 1", "table_is_read_only"),
        ("parts_to_throw_insert = 1", "too_many_parts"),
    ],
)
def test_insert_is_repeated_until_the_server_can_store_it(setting: str, reason: str, line: tuple[Proxy, Path], name: str) -> None:
    _, log = line
    settle()
    said = log.read_text().count(f"({reason}); the sink repeats the same")
    ask(f"ALTER TABLE {TABLE} MODIFY SETTING {setting}")
    try:
        publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(2_000)])
        eventually(lambda: log.read_text().count(f"({reason}); the sink repeats the same") >= said + 2)
        assert count_rows("touchpoints", name) == (0, 0)
    finally:
        ask(f"ALTER TABLE {TABLE} RESET SETTING {setting.partition(' ')[0]}")
    settle()
    assert count_rows("touchpoints", name) == (2_000, 2_000)


def test_table_with_a_hanging_connection_delays_no_other_table(migrated: Stack, name: str, tmp_path: Path) -> None:
    """The server is slow for one table only; its insert is aborted, repeated, and hangs again."""
    before = ask_value("SELECT count() FROM touchline.churn")
    with (
        proxy(migrated.clickhouse_port, "churn_by_customer") as between,
        running_sink(tmp_path / "log", "churn", "touchpoints", **through(between)),
    ):
        between.plan(*[HANG] * 100)
        publish("touchline.churn", "reading", [reading(signal="churn", definition=name) for _ in range(10)])
        eventually(lambda: len(between.met) >= 2)
        for part in range(3):
            publish("touchline.resolved", "resolved", [resolved(system=f"{name}-{part}") for _ in range(100)])
            eventually(lambda part=part: count_rows("touchpoints", f"{name}-{part}") == (100, 100), seconds=5)  # type: ignore[misc]
        between.faults.clear()
        between.release()
        eventually(lambda: ask_value("SELECT count() FROM touchline.churn") == before + 10)
    assert ask_value(f"SELECT count() FROM touchline_store.churn_by_customer WHERE definition = '{name}'") == 10


def test_unknown_error_code_pauses_its_table_only(migrated: Stack, name: str, tmp_path: Path) -> None:
    """Ending the process would stop all other tables, at each restart."""
    before = ask_value("SELECT count() FROM touchline.churn")
    log = tmp_path / "log"
    ask("ALTER TABLE touchline_store.churn_by_customer ADD CONSTRAINT broken CHECK version > 1")
    try:
        with running_sink(log, "churn", "touchpoints"):
            publish("touchline.churn", "reading", [reading(signal="churn") for _ in range(10)])
            eventually(lambda: "sink churn waits 30 s and starts its chunk again; other tables continue" in log.read_text())
            publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(100)])
            eventually(lambda: count_rows("touchpoints", name) == (100, 100))
    finally:
        ask("ALTER TABLE touchline_store.churn_by_customer DROP CONSTRAINT broken")
    assert "refused with error 469 (unexpected)" in log.read_text()
    store("churn")
    assert ask_value("SELECT count() FROM touchline.churn") == before + 10


def test_waiting_records_stay_on_kafka_and_not_in_memory(migrated: Stack, name: str, tmp_path: Path) -> None:
    """300 MiB of dead letters wait for a hanging ClickHouse; Kafka compresses each 6 MiB to a few kilobytes."""
    log = tmp_path / "log"
    with proxy(migrated.clickhouse_port, "dead_letters") as between, running_sink(log, "dead_letters", **through(between, 5)):
        running = (one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE)
        (process,) = (one for one in running if "dead_letters" in one.cmdline())
        between.plan(*[HANG] * 100)
        for part in range(5):
            letters = [
                make_dead_letter(
                    RecordError("too_long", "field text"), bytes(6 * MEGABYTE), stage="files", origin=f"{name}:{part}{one}"
                )
                for one in range(10)
            ]
            publish("touchline.dead-letters", "dead_letter", [letter.model_dump() for letter in letters])
        eventually(lambda: len(between.met) >= 1)
        assert process.memory_info().rss < 500 * MEGABYTE
        between.faults.clear()
        between.release()
        stored = "SELECT uniqExact(letter_id) FROM touchline_store.dead_letters WHERE origin LIKE {origin:String}"
        eventually(lambda: ask_value(stored, {"origin": f"{name}:%"}) == 50)
        assert process.memory_info().rss < 600 * MEGABYTE
