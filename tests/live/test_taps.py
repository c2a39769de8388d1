"""The `taps` connector with real programs: Meltano's tap on PostgreSQL, an Airbyte manifest on SAP's CAP."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import psutil
import pytest
import yaml

from connectors.contract import Cursor, Record
from connectors.settings import open_connector
from connectors.taps.connector import Connector
from deploy.local.state import Stack
from schemas.errors import ConfigError, RetryableError
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import connect, kill_at_each_step, published, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.cap import server as cap_server
from tests.live.cap.server import Cap
from tests.live.databases import PASSWORD, Server, Session, postgresql
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.timeout(600)]  # the first run installs the programs
HERE = Path(__file__).parent
SECRETS = {"SHOP_PASSWORD": PASSWORD, "SAP_PASSWORD": cap_server.PASSWORD}
ROWS, SAME = 12_000, 170  # the tap writes its state every 10,000 rows, here between rows of the same time
INSERT = "INSERT INTO orders (id, customer, total) VALUES (%s, %s, 9.90)"
FILL = """INSERT INTO orders (id, customer, total, changed_at)
SELECT n, concat('c', n), 9.90, timestamptz '2026-01-01' + (n / 170) * interval '1 s' FROM generate_series(1, 12000) AS s(n)"""


@pytest.fixture(autouse=True)
def secrets() -> Iterator[None]:
    with patch.dict(os.environ, SECRETS):
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="touchline-database-") as outside:
        Path(outside).chmod(0o711)
        folder = Path(outside) / "server"
        folder.mkdir()
        with postgresql(folder) as running:
            yield running


@pytest.fixture
def shop(server: Server) -> Iterator[Session]:
    with closing(server.session()) as owner:
        owner.run("DROP TABLE IF EXISTS orders")
        columns = "customer text, total numeric(10,2), gone boolean DEFAULT false, changed_at timestamptz NOT NULL DEFAULT now()"
        owner.run(f"CREATE TABLE orders (id bigint PRIMARY KEY, {columns})")
        owner.run("GRANT SELECT ON orders TO reader")
        yield owner


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cap]:
    with cap_server.cap(tmp_path_factory.mktemp("cap") / "server") as running:
        yield running


def write_settings(folder: Path, given: dict[str, Any]) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"poll_seconds": 0.2, "log": str(folder / "tap.log"), **given}))
    return path


def tap(folder: Path, server: Server, name: str = "shop", system: str = "shop", **stream: Any) -> Path:
    """Settings that read the table `orders` with Meltano's tap."""
    place = installed.python("tap-postgres-0.10.0", HERE / "taps_singer" / "requirements.txt")
    orders = {
        "stream": "public-orders",
        "replication_key": "changed_at",
        "source": "erp",
        "system": system,
        "columns": ["id", "customer", "total", "gone", "changed_at"],
        "version": "id(iso(changed_at, 'UTC'))",  # the server uses another time zone
        "time": "iso(changed_at, 'UTC')",
        "deleted": "gone",
        "map": {
            "type": 'lookup(id(gone), `{"true": "order.deleted", "false": "order.placed"}`)',
            "channel": "'web'",
            "occurred_at": "iso(changed_at, 'UTC')",
            "identifiers": {"erp_party": "id(customer)"},
            "amount": "number(total)",
        },
    }
    config = {"host": "127.0.0.1", "port": server.port, "user": "reader", "database": "shop", "password": "${SHOP_PASSWORD}"}
    command = [str(place / "bin" / "python"), str(place / "bin" / "tap-postgres")]
    given = {"name": name, "protocol": "singer", "command": command, "config": {**config, "filter_schemas": ["public"]}}
    return write_settings(folder, {**given, "streams": {"orders": {**orders, **stream}}})


def manifest(folder: Path, cap: Cap, name: str = "sap", system: str = "sap-s4", **config: Any) -> Path:
    """Settings that read CAP's orders with Airbyte's CDK and a manifest."""
    place = installed.python("airbyte-cdk-7.39.1", HERE / "taps_airbyte" / "requirements.txt")
    orders = {
        "stream": "orders",
        "replication_key": "LastChangeDateTime",
        "source": "erp",
        "system": system,
        "columns": ["SalesOrder", "SoldToParty", "LastChangeDateTime", "TotalNetAmount", "OverallSDDocumentRejectionSts"],
        "version": "LastChangeDateTime",
        "time": "iso(LastChangeDateTime, 'UTC')",
        "map": {
            "type": 'lookup(OverallSDDocumentRejectionSts || `"A"`, `{"C": "order.cancelled", "*": "order.placed"}`)',
            "channel": "'web'",
            "occurred_at": "iso(LastChangeDateTime, 'UTC')",
            "identifiers": {"erp_party": "id(SoldToParty)"},
            "order_id": "id(SalesOrder)",
        },
    }
    content = yaml.safe_load((HERE / "taps_airbyte" / "manifest.yaml").read_text())
    account = {"url": cap.address, "username": cap_server.USER, "password": "${SAP_PASSWORD}"}
    command = [str(place / "bin" / "python"), str(place / "bin" / "source-declarative-manifest")]
    given = {"name": name, "protocol": "airbyte", "command": command}
    return write_settings(
        folder,
        {**given, "config": {**account, "__injected_declarative_manifest": content, **config}, "streams": {"orders": orders}},
    )


def open_source(settings: Path) -> Connector:
    found = open_connector("taps", settings, {})
    assert isinstance(found, Connector)
    return found


def read(connector: Connector, cursor: Cursor | None = None) -> tuple[list[Record], Cursor]:
    found: list[Record] = []
    for batch in connector.read("orders", cursor):
        cursor = batch.cursor
        found += [record for record in batch.records if isinstance(record, Record)]
    assert cursor is not None
    return found, cursor


def running(folder: Path) -> list[psutil.Process]:
    """Return the running taps whose config is below a folder."""
    return [one for one in psutil.process_iter() if any(str(folder / "touchline-") in part for part in arguments(one))]


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def keys(records: list[Record]) -> Counter[str]:
    return Counter(record.key for record in records)


def test_tap_reads_each_row_once_and_then_changes(server: Server, shop: Session, tmp_path: Path) -> None:
    shop.run(FILL)
    connector = open_source(tap(tmp_path, server))
    assert connector.check() == "tap-postgres has 1 streams; reads orders"
    found, cursor = read(connector)
    assert keys(found) == Counter(str(number) for number in range(1, ROWS + 1))
    assert read(connector, cursor)[0] == []
    shop.run("INSERT INTO orders (id, customer, changed_at) SELECT 90001, 'late', max(changed_at) FROM orders")
    found, cursor = read(connector, cursor)
    assert [record.key for record in found] == ["90001"]
    shop.run("UPDATE orders SET gone = true, changed_at = now() WHERE id = 7")
    shop.run("DELETE FROM orders WHERE id = 8")
    found, cursor = read(connector, cursor)
    assert [(record.key, record.is_deleted, connector.map_record(record).type) for record in found] == [
        ("7", True, "order.deleted")
    ]


def test_abandoned_tap_continues_at_its_state(server: Server, shop: Session, tmp_path: Path) -> None:
    shop.run(FILL)
    connector = open_source(tap(tmp_path, server))
    batches = connector.read("orders", None)
    first = [next(batches) for _ in range(5)]
    batches.close()  # type: ignore[attr-defined]
    before = [record for batch in first for record in batch.records if isinstance(record, Record)]
    assert len(before) == 2_500
    after, _ = read(open_source(tap(tmp_path, server)), first[-1].cursor)
    assert keys(before + after) == Counter(str(number) for number in range(1, ROWS + 1))


def test_check_of_tap_reports_each_fault_in_one_line(server: Server, shop: Session, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^streams.orders.stream: tap-postgres has no public-nothing; it has public-orders$"):
        open_source(tap(tmp_path, server, stream="public-nothing")).check()
    with (
        patch.dict(os.environ, SHOP_PASSWORD="wrong"),
        pytest.raises(RetryableError, match=r"^tap-postgres ended with exit code 1: see .*log$"),
    ):
        open_source(tap(tmp_path, server)).check()
    assert "password authentication failed" in (tmp_path / "tap.log").read_text()
    with patch.dict(os.environ):
        del os.environ["SHOP_PASSWORD"]
        with pytest.raises(ConfigError, match=r"^config.password: set the environment variable SHOP_PASSWORD$"):
            open_source(tap(tmp_path, server)).check()


@pytest.mark.slow
def test_kill_at_each_step_neither_loses_nor_repeats_rows(server: Server, shop: Session, tmp_path: Path, migrated: Stack) -> None:
    shop.run(FILL)
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"taps-{uuid4().hex[:12]}"
    settings = tap(tmp_path, server, name)
    kill_at_each_step(settings, kafka, "taps", TMPDIR=str(tmp_path))
    eventually(lambda: not running(tmp_path), 20)
    code, out, err = wait_for_exit(connect(settings, kafka, "--once", "--no-restart", connector="taps"), 240)
    assert code == 0, out + err
    rows = shop.run("SELECT id, changed_at FROM orders")
    wanted = {event_id("shop", f"orders:{key}", at.astimezone(UTC).isoformat()).bytes for key, at in rows}
    assert set(published(kafka, name)) == wanted
    (state,) = states(kafka, name).values()
    assert (state.read, state.published, state.dead_lettered, state.repeated) == (ROWS, ROWS, 0, 0)


def test_order_of_tap_moves_risk_of_customer(line: Line, server: Server, shop: Session, tmp_path: Path) -> None:
    settings = tap(tmp_path, server, "live-tap", "live-tap")
    with line.connect("taps", settings, **SECRETS):
        found = line.measure_lag("taps (singer)", "live-tap", "an order is inserted", lambda: shop.run(INSERT, 1, "lag-tap"))
    assert 0 < found.touchpoint <= found.score


def test_manifest_reads_each_order_once_and_then_changes(cap: Cap, tmp_path: Path) -> None:
    connector = open_source(manifest(tmp_path, cap))
    assert connector.check() == "source-declarative-manifest has 1 streams; reads orders"
    batches = list(connector.read("orders", None))
    found = [record for batch in batches for record in batch.records if isinstance(record, Record)]
    assert keys(found) >= Counter(f"{number:010}" for number in range(cap_server.ORDERS))
    assert set(keys(found).values()) == {1}  # other tests may have written more orders
    assert max(len(batch.records) for batch in batches) == 500
    cursor = batches[-1].cursor
    assert read(connector, cursor)[0] == []
    after, _ = read(open_source(manifest(tmp_path, cap)), batches[2].cursor)
    assert keys(found[:1_500] + after) == keys(found)
    cap.order(910_000, "PUT", SoldToParty="5", OverallSDProcessStatus="A")
    found, cursor = read(connector, cursor)
    assert [record.key for record in found] == ["0000910000"]
    time.sleep(0.01)
    cap.order(910_000, OverallSDDocumentRejectionSts="C")
    found, cursor = read(connector, cursor)
    assert [connector.map_record(record).type for record in found] == ["order.cancelled"]
    cap.order(910_000, "DELETE")
    assert read(connector, cursor)[0] == []


def test_check_of_manifest_reports_fault_in_one_line(cap: Cap, tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match=r"^source-declarative-manifest cannot read its source: see .*tap.log$"):
        open_source(manifest(tmp_path, cap, password="${SHOP_PASSWORD}")).check()
    assert "401" in (tmp_path / "tap.log").read_text()


@pytest.mark.slow
def test_kill_at_each_step_neither_loses_nor_repeats_orders(cap: Cap, tmp_path: Path, migrated: Stack) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"taps-{uuid4().hex[:12]}"
    settings = manifest(tmp_path, cap, name)
    for number in range(930_000, 930_300):
        cap.order(number, "PUT", SoldToParty="7")
    kill_at_each_step(settings, kafka, "taps", TMPDIR=str(tmp_path))
    eventually(lambda: not running(tmp_path), 20)
    code, out, err = wait_for_exit(connect(settings, kafka, "--once", "--no-restart", connector="taps"), 240)
    assert code == 0, out + err
    connector = open_source(manifest(tmp_path, cap, name))
    records, _ = read(connector)
    assert set(published(kafka, name)) == {connector.map_record(record).event_id.bytes for record in records}
    (state,) = states(kafka, name).values()
    assert (state.read, state.published, state.dead_lettered, state.repeated) == (len(records), len(records), 0, 0)


@pytest.mark.slow
def test_order_of_manifest_moves_score_of_customer(cap: Cap, line: Line, tmp_path: Path) -> None:
    settings = manifest(tmp_path, cap, "live-manifest", "live-manifest")
    cap.order(920_000, "PUT", SoldToParty="33", OverallSDProcessStatus="A")
    with line.connect("taps", settings, **SECRETS):
        found = line.measure_lag(
            "taps (airbyte)",
            "live-manifest",
            "an order is rejected",
            lambda: cap.order(920_000, OverallSDDocumentRejectionSts="C", LastChangeDateTime=datetime.now(UTC).isoformat()),
        )
    assert 0 < found.touchpoint <= found.score
