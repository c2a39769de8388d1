"""The `sql` connector on real servers: slow transactions, page edges, kills and deletes lose no row."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
import yaml

from connectors.contract import UNBOUNDED, Cursor, Record, Window
from connectors.errors import AuthError
from connectors.settings import open_connector, secret_variable
from connectors.sql.connector import Connector
from deploy.local.state import Stack
from schemas.errors import ConfigError, RetryableError
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import connect, kill_at_each_step, published, states, wait_for_exit
from tests.harness.memory_use import max_live_objects
from tests.live.databases import PASSWORD, Server, Session, mariadb, postgresql
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live]
KINDS = {"postgresql": postgresql, "mariadb": mariadb}
MAP = {
    "type": 'lookup(id(gone || `false`), `{"true": "order.deleted", "1": "order.deleted", "*": "order.placed"}`)',
    "channel": "'web'",
    "occurred_at": "iso(changed_at, 'UTC')",
    "identifiers": {"erp_party": "id(customer)"},
    "amount": "number(total)",
}
GONE = {
    "type": "'order.deleted'",
    "channel": "'web'",
    "occurred_at": "iso(gone_at, 'UTC')",
    "identifiers": {"erp_party": "id(id)"},
}
TABLE: dict[str, Any] = {
    "table": "orders",
    "source": "erp",
    "system": "shop",
    "key": "id",
    "changed": "changed_at",
    "columns": ["customer", "total", "gone"],
    "deleted": "gone",
    "map": MAP,
}
SLEEP = {"postgresql": "(SELECT count(*) FROM pg_sleep(3))", "mariadb": "sleep(3)"}
OPENED: list[Connector] = []
INSERT = "INSERT INTO orders (id, customer, total) VALUES (%s, %s, 9.90)"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run in a folder outside of pytest's, because only root may enter those and the servers run as another user."""
    with TemporaryDirectory(prefix="touchline-database-") as outside:
        Path(outside).chmod(0o711)
        folder = Path(outside) / "server"
        folder.mkdir()
        with KINDS[request.param](folder) as running:
            yield running


@pytest.fixture
def shop(server: Server) -> Iterator[Session]:
    """A connection of the application, with a new table of orders."""
    with closing(server.session()) as owner:
        owner.run("DROP TABLE IF EXISTS orders")
        kind = "timestamptz" if server.kind == "postgresql" else "timestamp(6)"
        columns = f"changed_at {kind} NOT NULL DEFAULT {'now()' if server.kind == 'postgresql' else 'now(6)'}"
        others = "customer text, total decimal(10,2), gone boolean DEFAULT false"
        owner.run(f"CREATE TABLE orders (id bigint PRIMARY KEY, {others}, {columns})")
        owner.run("CREATE INDEX orders_changed ON orders (changed_at, id)")
        if server.kind == "postgresql":
            owner.run("GRANT SELECT ON orders TO reader")
        yield owner


@pytest.fixture(autouse=True)
def password() -> Iterator[None]:
    """Set the reader's password in the environment, and close all connectors at the end."""
    with patch.dict(os.environ, TOUCHLINE_PEER_PASSWORD=PASSWORD):
        yield
    while OPENED:
        OPENED.pop().close()


def write_settings(folder: Path, server: Server, name: str = "peer", table: dict[str, Any] | None = None, **changes: Any) -> Path:
    settings = {
        "name": name,
        "url": server.url,
        "poll_seconds": 0.2,
        "page": 10,
        "tables": {"orders": {**TABLE, **(table or {})}},
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({**settings, **changes}))
    return path


def open_source(folder: Path, server: Server, table: dict[str, Any] | None = None, **changes: Any) -> Connector:
    found = open_connector("sql", write_settings(folder, server, table=table, **changes), {})
    assert isinstance(found, Connector)
    OPENED.append(found)
    return found


def read(
    connector: Connector, cursor: Cursor | None = None, stream: str = "orders", window: Window = UNBOUNDED
) -> tuple[list[Record], Cursor]:
    found: list[Record] = []
    for batch in connector.read(stream, cursor, window):
        cursor = batch.cursor
        found += [record for record in batch.records if isinstance(record, Record)]
    assert cursor is not None
    return found, cursor


def keys(records: list[Record]) -> list[int]:
    return [int(record.key) for record in records]


def settle() -> None:
    """Wait longer than the second that rows need to settle, plus the truncation to whole seconds."""
    time.sleep(2.1)


def begin(server: Server) -> Session:
    found = server.session()
    found.run("BEGIN")
    return found


def fill(shop: Session, count: int, minutes: float = 1) -> None:
    start = datetime.now(UTC) - timedelta(days=1)
    for number in range(1, count + 1):
        at = (start + number * timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S.%f")
        shop.run("INSERT INTO orders (id, customer, total, changed_at) VALUES (%s, %s, 9.90, %s)", number, f"c{number}", at)


def test_slow_transaction_is_awaited_and_is_lost_without_waiting(server: Server, shop: Session, tmp_path: Path) -> None:
    slow = begin(server)
    slow.run(INSERT, 1, "slow")
    settle()
    shop.run(INSERT, 2, "quick")
    settle()
    careless, careful = (open_source(tmp_path, server, wait_for_transactions=wait, late_seconds=0) for wait in (False, True))
    first, lost = read(careless)
    waited, cursor = read(careful)
    slow.run("COMMIT")
    slow.close()
    settle()
    assert keys(first) == [2]
    assert keys(waited) == []
    assert 1 not in keys(read(careless, lost)[0])
    assert keys(read(careful, cursor)[0]) == [1, 2]


def test_late_seconds_finds_slow_transaction_without_waiting(server: Server, shop: Session, tmp_path: Path) -> None:
    slow = begin(server)
    slow.run(INSERT, 1, "slow")
    settle()
    shop.run(INSERT, 2, "quick")
    settle()
    connector = open_source(tmp_path, server, wait_for_transactions=False, late_seconds=30)
    first, cursor = read(connector)
    slow.run("COMMIT")
    slow.close()
    assert keys(first) == [2]
    assert keys(read(connector, cursor)[0]) == [1, 2]


def test_transaction_without_write_is_awaited(server: Server, shop: Session, tmp_path: Path) -> None:
    slow = begin(server)
    slow.run("SELECT count(*) FROM orders")
    settle()
    shop.run(INSERT, 2, "quick")
    settle()
    connector = open_source(tmp_path, server, late_seconds=0)
    waited, cursor = read(connector)
    slow.run(INSERT, 1, "slow")
    slow.run("COMMIT")
    slow.close()
    settle()
    assert waited == []
    assert sorted(keys(read(connector, cursor)[0])) == [1, 2]


def test_each_row_is_read_once_under_many_writers(server: Server, shop: Session, tmp_path: Path) -> None:
    """Read while six sessions keep transactions open for up to 1.5 seconds and commit them in any order."""
    randomness, writers, number = random.Random(7), [server.session() for _ in range(6)], 0
    open_until: dict[int, float] = {}
    connector, cursor, found = open_source(tmp_path, server, late_seconds=0), None, Counter[int]()
    end = time.monotonic() + 8
    while time.monotonic() < end or open_until:
        for place, writer in enumerate(writers):
            if place in open_until and time.monotonic() > open_until[place]:
                writer.run("COMMIT" if randomness.random() < 0.8 else "ROLLBACK")
                del open_until[place]
            elif place not in open_until and time.monotonic() < end:
                writer.run("BEGIN")
                open_until[place] = time.monotonic() + randomness.uniform(0, 1.5)
            if place in open_until:
                number += 1
                writer.run(INSERT, number, "c")
        records, cursor = read(connector, cursor)
        found.update(keys(records))
        time.sleep(0.01)
    settle()
    found.update(keys(read(connector, cursor)[0]))
    for writer in writers:
        writer.close()
    stored = {int(row[0]) for row in shop.run("SELECT id FROM orders")}
    assert len(stored) > 50
    assert found == Counter(stored)


def test_rows_of_one_time_are_read_once_across_pages_and_after_any_batch(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 35, minutes=0)
    connector = open_source(tmp_path, server)
    batches = list(connector.read("orders", None))
    assert [len(batch.records) for batch in batches] == [10, 10, 10, 5]
    for cut, batch in enumerate(batches[:-1], 1):
        rest, _ = read(open_source(tmp_path, server), batch.cursor)
        assert keys(rest) == list(range(10 * cut + 1, 36))


def test_at_most_two_pages_are_in_memory(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 60)
    assert 0 < max_live_objects(open_source(tmp_path, server).read("orders", None), Record, 6) <= 20


def test_backfill_reads_rows_before_start_and_matches_count(
    server: Server, shop: Session, tmp_path: Path, migrated: Stack
) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    fill(shop, 30)
    shop.run(INSERT, 31, "new")
    settle()
    name = f"sql-{uuid4().hex[:12]}"
    settings = write_settings(tmp_path, server, name, start=datetime.now(UTC) - timedelta(hours=1))
    with patch.dict(os.environ, {f"TOUCHLINE_{name.replace('-', '_').upper()}_PASSWORD": PASSWORD}):
        code, _, err = wait_for_exit(connect(settings, kafka, "--once", "--no-restart", connector="sql"))
        assert code == 0, err
        assert len(set(published(kafka, name))) == 1
        code, out, err = wait_for_exit(connect(settings, kafka, "--backfill", "2020-01-01", "--no-restart", connector="sql"))
    assert code == 0, err
    assert "30 read, 30 at the source: nothing missing" in " ".join((out + err).split())
    assert len(set(published(kafka, name))) == 31


def test_change_is_another_event_and_mark_is_delete(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 2)
    connector = open_source(tmp_path, server)
    before, cursor = read(connector)
    shop.run(f"UPDATE orders SET gone = true, changed_at = {'now()' if server.kind == 'postgresql' else 'now(6)'} WHERE id = 1")
    settle()
    after = read(connector, cursor)[0][-1]
    assert after.is_deleted
    assert connector.map_record(after).type == "order.deleted"
    assert connector.map_record(after).event_id not in {connector.map_record(one).event_id for one in before}


def test_deleted_keys_are_reported_once(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 40)
    connector = open_source(tmp_path, server, table={"gone": {"every_seconds": 1, "map": GONE}})
    assert list(connector.list_streams({})) == ["orders", "orders.gone"]
    first, cursor = read(connector, None, "orders.gone")
    shop.run("DELETE FROM orders WHERE id BETWEEN 8 AND 20")
    shop.run(INSERT, 41, "new")
    batches = list(connector.read("orders.gone", cursor))
    assert first == []
    assert [len(batch.records) for batch in batches] == [10, 3, 0]
    again, last = read(connector, batches[0].cursor, "orders.gone")
    assert keys(again) == [18, 19, 20]
    assert all(one.is_deleted and connector.map_record(one).type == "order.deleted" for one in again)
    assert read(connector, last, "orders.gone")[0] == []
    assert list(connector.list_streams({"orders": {}, "orders.gone": last})) == ["orders"]
    shop.run("DELETE FROM orders")
    with pytest.raises(RetryableError, match="has become empty"):
        read(connector, last, "orders.gone")


def test_closed_connection_is_reopened_without_loss(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 25)
    connector = open_source(tmp_path, server)
    batches = connector.read("orders", None)
    first = next(batches)
    if server.kind == "postgresql":
        shop.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
    else:
        for (number,) in shop.run("SELECT id FROM information_schema.processlist WHERE user = 'reader'"):
            shop.run("KILL %s", number)
    with pytest.raises(RetryableError, match="does the server run"):
        next(batches)
    assert keys(read(connector, first.cursor)[0]) == list(range(11, 26))


def test_window_matches_count_of_database(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 30)
    connector = open_source(tmp_path, server)
    start = datetime.now(UTC) - timedelta(days=1) + timedelta(minutes=10.5)
    window = Window(start, start + timedelta(minutes=10))
    assert len(read(connector, None, window=window)[0]) == connector.count("orders", window) == 10


def test_times_outside_of_calendar_are_rejected_and_reading_continues(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 2)
    if server.kind == "postgresql":
        shop.run("INSERT INTO orders (id, customer, changed_at) VALUES (8, 'a', '-infinity'), (9, 'b', '0044-03-15 BC')")
    else:
        shop.run("SET sql_mode = ''")
        shop.run("INSERT INTO orders (id, customer, changed_at) VALUES (8, 'a', 0), (9, 'b', 0)")
    batches = list(open_source(tmp_path, server).read("orders", None))
    assert [type(one).__name__ for batch in batches for one in batch.records] == [
        "RejectedRecord",
        "RejectedRecord",
        "Record",
        "Record",
    ]


def test_check_reports_each_fault_in_one_line(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 1)
    assert "reads orders" in open_source(tmp_path, server).check()
    shop.run("INSERT INTO orders (id, customer, changed_at) VALUES (5, 'ahead', %s)", datetime.now(UTC) + timedelta(days=2))
    assert "in local time?" in open_source(tmp_path, server).check()
    with pytest.raises(ConfigError, match=r"^orders cannot be read .*columns"):
        open_source(tmp_path, server, table={"columns": ["customer", "total", "gone", "nope"]}).check()
    with pytest.raises(RetryableError, match="does the server run"):
        open_source(tmp_path, server, url=server.url.replace(str(server.port), "9")).check()
    shop.run(f"CREATE OR REPLACE VIEW slow AS SELECT o.* FROM orders o WHERE {SLEEP[server.kind]} IS NOT NULL")
    if server.kind == "postgresql":
        shop.run("GRANT SELECT ON slow TO reader")
    with pytest.raises(RetryableError, match=r"^slow takes longer than timeout_seconds: is there an index"):
        open_source(tmp_path, server, table={"table": "slow"}, timeout_seconds=1).check()
    shop.run("DROP VIEW slow")
    with patch.dict(os.environ, TOUCHLINE_PEER_PASSWORD="wrong"), pytest.raises(AuthError, match="TOUCHLINE_PEER_PASSWORD"):
        open_source(tmp_path, server).check()
    right = ("pg_read_all_stats", "GRANT pg_read_all_stats TO", "REVOKE pg_read_all_stats FROM")
    if server.kind == "mariadb":
        right = ("PROCESS", "GRANT PROCESS ON *.* TO", "REVOKE PROCESS ON *.* FROM")
    shop.run(f"{right[2]} reader")
    try:
        with pytest.raises(ConfigError, match=right[0]):
            open_source(tmp_path, server).check()
        assert "reads orders" in open_source(tmp_path, server, wait_for_transactions=False, late_seconds=60).check()
    finally:
        shop.run(f"{right[1]} reader")


def test_duplicate_key_and_missing_time_are_reported(server: Server, shop: Session, tmp_path: Path) -> None:
    fill(shop, 12)
    shop.run("CREATE VIEW twice AS SELECT * FROM orders UNION ALL SELECT * FROM orders")
    shop.run("CREATE VIEW timeless AS SELECT id, customer, total, gone, nullif(changed_at, changed_at) AS changed_at FROM orders")
    try:
        if server.kind == "postgresql":
            shop.run("GRANT SELECT ON twice, timeless TO reader")
        with pytest.raises(ConfigError, match=r"^tables.orders.key: two rows of .* have the same id: name a unique column$"):
            read(open_source(tmp_path, server, table={"table": "twice"}))
        assert (
            "none with a readable time: is changed_at null" in open_source(tmp_path, server, table={"table": "timeless"}).check()
        )
        assert "none with a readable time" not in open_source(tmp_path, server).check()
    finally:
        shop.run("DROP VIEW twice")
        shop.run("DROP VIEW timeless")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "CAST(changed_at AS date)",
            "changed: changed_at holds dates without a time, so the second change of a day would be lost",
        ),
        ("CAST(extract(epoch FROM changed_at) AS bigint)", "changed: changed_at holds numbers: name a timestamp"),
        ("extract(epoch FROM changed_at)", "changed: changed_at holds numbers"),
    ],
)
def test_column_without_time_is_rejected_before_first_row(
    server: Server, shop: Session, tmp_path: Path, column: str, message: str
) -> None:
    if server.kind == "mariadb":
        column = column.replace("extract(epoch FROM changed_at)", "unix_timestamp(changed_at)").replace("bigint", "unsigned")
    fill(shop, 2)
    shop.run(f"CREATE OR REPLACE VIEW odd AS SELECT id, customer, total, gone, {column} AS changed_at FROM orders")
    try:
        if server.kind == "postgresql":
            shop.run("GRANT SELECT ON odd TO reader")
        connector = open_source(tmp_path, server, table={"table": "odd"})
        for action in (connector.check, lambda: read(connector)):
            with pytest.raises(ConfigError, match=f"^tables.orders.{message}"):
                action()
    finally:
        shop.run("DROP VIEW odd")


def test_mariadb_names_wrong_database_and_missing_certificate(server: Server, shop: Session, tmp_path: Path) -> None:
    if server.kind != "mariadb":
        pytest.skip("PostgreSQL: libpq and the check report these errors")
    for database in ("mysql", "nowhere"):
        with pytest.raises(ConfigError, match=rf"^url: the server has no database {database}, .*\(error 1044\)"):
            open_source(tmp_path, server, url=server.url.replace("/shop", f"/{database}")).check()
    with pytest.raises(ConfigError, match=r"^url: ssl_ca: /nowhere.pem cannot be used: No such file or directory$"):
        open_source(tmp_path, server, url=f"{server.url}?ssl_ca=/nowhere.pem").check()
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca.pem cannot be used: it contains no certificates$"):
        open_source(tmp_path, server, url=f"{server.url}?ssl_ca={tmp_path / 'ca.pem'}").check()


def test_kill_at_each_step_neither_loses_nor_repeats_rows(server: Server, shop: Session, tmp_path: Path, migrated: Stack) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"sql-{uuid4().hex[:12]}"
    rows = "generate_series(1, 30000) AS s(n)" if server.kind == "postgresql" else "(SELECT seq AS n FROM seq_1_to_30000) AS s"
    at = (
        "'2026-01-01'::timestamptz + (n / 100) * interval '1 s'"
        if server.kind == "postgresql"
        else "'2026-01-01' + INTERVAL (n DIV 100) SECOND"
    )
    shop.run(f"INSERT INTO orders (id, customer, total, changed_at) SELECT n, concat('c', n), 1, {at} FROM {rows}")
    settings = write_settings(tmp_path, server, name, page=500)
    with patch.dict(os.environ, {secret_variable(name, "password"): PASSWORD}):
        kill_at_each_step(settings, kafka, "sql")
        code, out, err = wait_for_exit(connect(settings, kafka, "--once", "--no-restart", connector="sql"), 120)
    assert code == 0, out + err
    versions = {str(row[0]): row[1] for row in shop.run("SELECT id, changed_at FROM orders")}
    wanted = {event_id("shop", f"orders:{key}", version(server, at)).bytes for key, at in versions.items()}
    assert set(published(kafka, name)) == wanted
    (state,) = states(kafka, name).values()
    assert (state.read, state.published, state.dead_lettered) == (30_000 + state.repeated, 30_000, 0)


def version(server: Server, at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00") if at.tzinfo else at.strftime("%Y-%m-%d %H:%M:%S.%f")


def test_order_in_table_moves_risk_of_customer(line: Line, server: Server, shop: Session, tmp_path: Path) -> None:
    settings = write_settings(tmp_path, server, f"live-{server.kind}", table={"system": server.kind})
    secret = {f"TOUCHLINE_LIVE_{server.kind.upper()}_PASSWORD": PASSWORD}
    with line.connect("sql", settings, **secret):
        found = line.measure_lag(
            f"sql ({server.kind})", server.kind, "an order is inserted", lambda: shop.run(INSERT, 1, f"lag-{server.kind}")
        )
    assert 0 < found.touchpoint <= found.score
