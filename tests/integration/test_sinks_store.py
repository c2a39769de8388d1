"""`touchline migrate` and `touchline sink` on a real Kafka and ClickHouse: stored and refused records, crashes, output."""

import os
import random
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from uuid import uuid4

import psutil
import pytest

from deploy.local import state
from deploy.local.clickhouse import server
from deploy.local.kafka import broker
from deploy.local.state import Stack
from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from schemas.wire.codec import decode, encode
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from sinks.retry import write
from sinks.runner import AGE_SAMPLE_ROWS
from sinks.scripts import load_migrations
from tests.harness.sinks import (
    Stored,
    ask,
    ask_value,
    encode_record,
    end_sinks,
    journey,
    pack_resolved,
    publish,
    reading,
    resolved,
    send,
    sink,
    store,
    to_uuid,
)
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def ready(migrated: Stack) -> Iterator[None]:
    """Create topics and tables; end the sinks of each test, also of a failed one."""
    yield
    end_sinks()


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


def migrate(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOUCHLINE, "migrate", *options], capture_output=True, text=True, timeout=60, check=False)


def counted(system: str) -> tuple[int, int]:
    """Return the number of rows and of distinct touchpoints of a system in the view."""
    (row,) = ask(f"SELECT count() AS n, uniqExact(event_id) AS ids FROM touchline.touchpoints WHERE system = '{system}'")
    return row["n"], row["ids"]


def test_second_migration_only_replaces_views() -> None:
    before = ask("SELECT name, checksum, applied_at FROM touchline_store.migrations ORDER BY name")
    done = migrate()
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("touchline migrate: Kafka ")
    assert "topic" not in done.stdout
    assert " apply" not in done.stdout
    assert ask("SELECT name, checksum, applied_at FROM touchline_store.migrations ORDER BY name") == before
    assert {row["name"] for row in before} == {script.name for script in load_migrations()}


def test_dry_run_lists_steps_and_changes_nothing() -> None:
    ask("DROP VIEW touchline.signals")
    assert "signals" in migrate("--dry-run").stdout
    assert ask_value("SELECT count() FROM system.tables WHERE database = 'touchline' AND name = 'signals'") == 0
    assert migrate().returncode == 0
    assert ask_value("SELECT count() FROM system.tables WHERE database = 'touchline' AND name = 'signals'") == 1


def test_concurrent_migrations_succeed() -> None:
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(lambda _: migrate(), range(3)))
    assert [(each.returncode, each.stderr.count("\n")) for each in done] == [(0, 1)] * 3


def test_changed_migration_is_refused_with_advice() -> None:
    changed = load_migrations()[-1]
    client = ClickHouse()
    try:
        client.insert("touchline_store.migrations", ("name", "checksum"), [[changed.name], ["0" * 64]], uuid4().hex)
        done = migrate()
        client.insert("touchline_store.migrations", ("name", "checksum"), [[changed.name], [changed.checksum]], uuid4().hex)
    finally:
        client.close()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"migration {changed.name} was changed after it was applied: put the file back" in done.stderr
    assert migrate().returncode == 0


def test_one_insert_holds_thirty_years(name: str) -> None:
    """CDNOW has records of 1997: one block must not be split into too many parts."""
    times = range(852_076_800_000, 1_752_076_800_000, 10**9)
    publish("touchline.resolved", "resolved", [resolved(system=name, occurred_at=at) for at in times])
    store("touchpoints")
    assert counted(name) == (900, 900)


def test_broken_bytes_become_dead_letters_with_bytes_and_position(name: str) -> None:
    inside = pack_resolved(resolved(), b"broken inside " + name.encode())
    broken = [b"", b"\x00\x00", b'{"json": true}', b"\x00\x00\x00\xff\xff" + name.encode(), os.urandom(3) * 1_000_000, inside]
    good = [resolved(system=name) for _ in range(20)]
    values = [encode_record("resolved", record) for record in good]
    send("touchline.resolved", [(b"k", value) for value in [*values[:10], *broken, *values[10:]]])
    log = store("touchpoints", "dead_letters")
    assert counted(name) == (20, 20)
    found = ask("SELECT * FROM touchline.dead_letters WHERE stage = 'sink_touchpoints' AND topic = 'touchline.resolved'")
    sizes = {row["size"]: row for row in found}
    assert {len(value) for value in broken} <= set(sizes)
    unknown = sizes[len(broken[3])]
    assert (unknown["reason"], unknown["schema_id"]) == ("unknown_schema", 65_535)
    assert (unknown["truncated"], unknown["replayed"]) == (0, 0)
    assert unknown["detail"] == "schema id 65535 is unknown: see `touchline schemas show`"
    assert unknown["origin"] == f"touchline.resolved/{unknown['partition']}/{unknown['offset']}"
    assert sizes[len(inside)]["reason"] == "not_avro"
    hexadecimal = "SELECT hex(payload) FROM touchline.dead_letters WHERE letter_id = {id:UUID}"
    for size, bytes_of in ((len(broken[3]), broken[3]), (len(inside), inside)):
        assert ask_value(hexadecimal, {"id": str(sizes[size]["letter_id"])}) == bytes_of.hex().upper()
    assert name not in log


def test_a_dead_letter_of_six_mebibytes_is_stored_whole() -> None:
    payload = os.urandom(6 * 2**20)
    letter = make_dead_letter(RecordError("too_long", "field text"), payload, stage="files", origin="posts.jsonl:1").model_dump()
    publish("touchline.dead-letters", "dead_letter", [letter])
    store("dead_letters")
    sql = "SELECT length(payload) FROM touchline.dead_letters WHERE letter_id = {id:UUID}"
    assert ask_value(sql, {"id": str(to_uuid(letter["letter_id"]))}) == len(payload)


def test_row_with_an_unfit_value_is_refused_alone() -> None:
    good = [journey() for _ in range(60)]
    poison = [journey(touchpoints=-1), journey(friction=2**40), journey(version=-5)]
    customer = uuid4().bytes
    mixed = [{**record, "customer_id": customer} for record in [*good[:7], poison[0], *good[7:40], *poison[1:], *good[40:]]]
    publish("touchline.journeys", "journey", mixed)
    log = store("journeys", "dead_letters")
    stored = ask("SELECT journey_id FROM touchline.journeys WHERE customer_id = {id:UUID}", {"id": str(to_uuid(customer))})
    assert {row["journey_id"] for row in stored} == {to_uuid(record["journey_id"]) for record in good}
    letters = ask("SELECT hex(payload) AS bytes, reason, detail FROM touchline.dead_letters WHERE stage = 'sink_journeys'")
    refused = [decode(bytes.fromhex(row["bytes"]))[1]["journey_id"] for row in letters]
    assert {record["journey_id"] for record in poison} <= set(refused)
    assert {(row["reason"], row["detail"]) for row in letters} == {
        ("unfit_value", "a value does not fit its column in touchline_store.journeys_by_customer: TypeMismatchError")
    }
    assert str(2**40) not in log


def test_block_under_the_same_token_is_stored_once() -> None:
    """An insert with a lost answer is repeated; the server must store it once."""
    table, client, customer = load_tables()["satisfaction"], ClickHouse(), uuid4()
    records = [
        Stored(table.topic, 0, n, encode("reading", reading(customer_id=customer.bytes))) for n in range(10**6, 10**6 + 50)
    ]
    chunk = transform(table, records)
    try:
        for _ in range(3):
            assert write(table, client, chunk, "a token", threading.Event()) == []
    finally:
        client.close()
    assert (
        ask_value(f"SELECT count() FROM touchline_store.satisfaction_by_customer WHERE customer_id = unhex('{customer.hex}')")
        == 50
    )


def test_repeatedly_killed_sink_stores_each_touchpoint_once(name: str) -> None:
    records = [resolved(system=name) for _ in range(30_000)]

    def feed() -> None:
        for part in range(10):
            publish("touchline.resolved", "resolved", records[part::10])

    feeder = threading.Thread(target=feed)
    feeder.start()
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    for _ in range(4):
        process = sink("touchpoints")
        time.sleep(dice.uniform(0.9, 3.0))
        assert process.poll() is None, "the sink ended before it was killed"
        process.kill()
        process.communicate()
    feeder.join()
    store("touchpoints")
    assert counted(name) == (30_000, 30_000), f"seed {seed}"


def service(name: str) -> psutil.Process:
    """Return the process of `kafka` or `clickhouse` of the stack, after a restart if it was killed."""
    for _ in range(300):
        running = state.read()
        assert running is not None
        if pid := running.service(name).pid:
            return psutil.Process(pid)
        time.sleep(0.1)
    raise AssertionError(f"{name} did not come back in 30 s")


def test_killed_clickhouse_loses_no_record(name: str) -> None:
    records = [resolved(system=name) for _ in range(20_000)]
    process = sink("touchpoints", "--until-idle", "3")
    for part in range(4):
        publish("touchline.resolved", "resolved", records[part::4])
        if part in (1, 2):
            service("clickhouse").kill()
            time.sleep(0.3)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert counted(name) == (20_000, 20_000)


def test_killed_kafka_loses_no_record(name: str, migrated: Stack) -> None:
    records = [resolved(system=name) for _ in range(4_000)]
    publish("touchline.resolved", "resolved", records[:2_000])
    process = sink("touchpoints")
    until_ready(process)
    service("kafka").kill()
    time.sleep(1)
    eventually(lambda: broker.is_ready(migrated.ports))
    publish("touchline.resolved", "resolved", records[2_000:])
    eventually(lambda: counted(name)[1] == 4_000)
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    assert counted(name) == (4_000, 4_000)


def pages(process: subprocess.Popen[str]) -> str:
    """Return the address of a sink's pages once its log names it."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", line):
            return found[1]
    raise AssertionError("the sink ended without an address")


def until_ready(process: subprocess.Popen[str]) -> None:
    """Wait until the sink reads its topics; from then on it handles SIGTERM and a lost Kafka."""
    address = pages(process)

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=5):
                return True
        except HTTPError as refused:
            refused.close()
            return False

    eventually(ready)


@pytest.fixture
def clickhouse(migrated: Stack) -> Iterator[psutil.Process]:
    """Yield the process for the test to suspend; resume it afterwards."""
    process = service("clickhouse")
    yield process
    process.resume()
    eventually(lambda: server.is_ready(migrated.ports))


def test_sigterm_ends_the_sink_in_ten_seconds_while_clickhouse_hangs(name: str, clickhouse: psutil.Process) -> None:
    process = sink("touchpoints")
    publish("touchline.resolved", "resolved", [resolved(system=name)])
    eventually(lambda: counted(name) == (1, 1))
    clickhouse.suspend()
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(10)])
    time.sleep(2)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    clickhouse.resume()
    store("touchpoints")
    assert counted(name) == (11, 11)


def test_sigterm_finishes_the_chunk(name: str) -> None:
    process = sink()
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(2_000)])
    until_ready(process)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(re.findall(r"sink \w+ stopped$", log, re.MULTILINE)) == len(load_tables())
    store("touchpoints")
    assert counted(name) == (2_000, 2_000)


def test_missing_table_stops_alone_and_ends_the_process_with_code_2(name: str) -> None:
    ask("RENAME TABLE touchline_store.churn_by_customer TO touchline_store.churn_elsewhere")
    try:
        publish("touchline.churn", "reading", [reading(signal="churn")])
        publish("touchline.resolved", "resolved", [resolved(system=name)])
        process = sink("churn", "touchpoints", "--until-idle", "2")
        _, log = process.communicate(timeout=60)
    finally:
        ask("RENAME TABLE touchline_store.churn_elsewhere TO touchline_store.churn_by_customer")
    assert process.returncode == 2
    assert re.search(r"ERROR .* sink churn ended, the other tables continue: .*unknown_table.*run `touchline migrate`", log)
    assert "Traceback" not in log
    assert counted(name) == (1, 1)
    store("churn")


def test_unknown_table_name_is_one_line_and_exit_code_2() -> None:
    process = sink("orders")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said.startswith("touchline: there is no table orders; tables are churn, ")


def test_metrics_count_stored_and_refused_records(name: str, tmp_path: Path) -> None:
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(30)])
    send("touchline.resolved", [(b"k", b"broken " + name.encode())])
    process = sink("touchpoints")
    address = pages(process)
    for _ in range(100):
        with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        if 'outcome="dead_letter",stage="sink_touchpoints"' in metrics:
            break
        time.sleep(0.1)
    for probe in ("live", "ready"):
        with urllib.request.urlopen(f"{address}/{probe}", timeout=5) as answer:
            assert answer.read() == b"ok\n"
    process.terminate()
    process.communicate(timeout=10)
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values['touchline_records_total{outcome="stored",stage="sink_touchpoints"}']) >= 30
    assert float(values['touchline_dead_letters_total{reason="not_avro",stage="sink_touchpoints"}']) >= 1
    assert float(values['touchline_sink_insert_seconds_count{table="touchpoints"}']) >= 1
    assert float(values['touchline_event_age_seconds_count{stage="stored"}']) >= 30 // AGE_SAMPLE_ROWS
    assert float(values['touchline_consumer_lag_records{stage="sink_touchpoints"}']) == 0
    assert float(values['touchline_consumer_lag_seconds{stage="sink_touchpoints"}']) == 0
