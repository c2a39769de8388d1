"""OData 2 and 4 of CAP, SAP's own server, with orders and deliveries in the format of S/4HANA."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from connectors.contract import Record, Window
from connectors.errors import AuthError
from connectors.odata.connector import Connector
from connectors.odata.settings import ODataSettings
from connectors.settings import secret_variable
from deploy.local.state import Stack
from schemas.errors import ConfigError
from schemas.records.families.erp import Erp
from schemas.records.touchpoint import Touchpoint
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import kill_at_each_step, published, states, wait_for_exit
from tests.harness.stack import TOUCHLINE
from tests.live.cap import server
from tests.live.cap.server import DAY, ORDERS, PASSWORD, SAME, USER, Cap
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.timeout(600)]  # the first run fetches the server


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cap]:
    with server.cap(tmp_path_factory.mktemp("cap") / "server") as running:
        yield running


@pytest.fixture(params=[2, 4])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def open_source(cap: Cap, version: int, **others: Any) -> Connector:
    given = {"name": "sap", "url": cap.url(version), "odata": version, "username": USER, "password": PASSWORD, "page": 100}
    return Connector(ODataSettings(**{**given, **others}))


def read(connector: Connector, stream: str = "sales_orders", **options: Any) -> list[Record]:
    return [one for batch in connector.read(stream, None, **options) for one in batch.records if isinstance(one, Record)]


def touchpoints(connector: Connector, stream: str = "sales_orders", **options: Any) -> list[Touchpoint]:
    return [connector.map_record(record) for record in read(connector, stream, **options)]


def orders(connector: Connector, **options: Any) -> list[Erp]:
    return [one for one in touchpoints(connector, **options) if isinstance(one, Erp)]


OLD = Window(None, DAY + timedelta(days=1))


@pytest.mark.parametrize("page", [100, 2_000])  # a page within one instant, and more than the server sends at once
def test_each_order_is_read_once_across_equal_times_and_server_pages(cap: Cap, version: int, page: int) -> None:
    connector = open_source(cap, version, page=page)
    assert Counter(record.key for record in read(connector, window=OLD)) == Counter(f"{one:010}" for one in range(ORDERS))
    assert connector.count("sales_orders", OLD) == ORDERS
    assert connector.count("sales_orders", Window(DAY + timedelta(milliseconds=2), OLD.end)) == ORDERS - 2 * SAME
    connector.close()


def test_both_versions_give_the_same_events(cap: Cap) -> None:
    found = [open_source(cap, version) for version in (2, 4)]
    two, four = ({one.event_id: one for one in orders(connector, window=OLD)} for connector in found)
    assert two.keys() == four.keys()
    first = next(iter(two.values()))
    assert {"received_at"} >= {name for name, value in first if value != getattr(four[first.event_id], name)}
    assert str(first.amount) == f"{int(first.order_id or 0)}.25"
    for connector in found:
        connector.close()


def test_check_counts_rows_and_names_setting_to_change(cap: Cap, version: int) -> None:
    connector = open_source(cap, version, streams={"sales_orders": None, "deliveries": None})
    assert "sales_orders" in connector.check()
    connector.close()
    wrong = open_source(cap, version, password="wrong")
    with pytest.raises(AuthError, match=r"set TOUCHLINE_.*_PASSWORD"):
        wrong.check()
    wrong.close()
    other = open_source(cap, 6 - version, url=cap.url(version))
    with pytest.raises(ConfigError):
        other.check()
    other.close()


def test_expanded_items_and_custom_fields_are_read(cap: Cap, version: int) -> None:
    number = 900_000 + version
    cap.order(number, "PUT", SoldToParty="4711", to_Item=[{"SalesOrderItem": "10", "Material": "TG11"}], YY1_Channel_SDH="app")
    given = {
        "path": "/API_SALES_ORDER_SRV/A_SalesOrder",
        "key": "SalesOrder",
        "changed": "LastChangeDateTime",
        "expand": {"to_Item": ["Material"]},
        "fields": ["YY1_Channel_SDH"],
    }
    connector = open_source(cap, version, streams={"sales_orders": given})
    time.sleep(1.1)  # the server's `Date` has no fractions
    [found] = [one for one in orders(connector, window=Window(OLD.end)) if one.order_id == f"{number:010}"]
    assert found.product == "TG11"
    assert found.attributes["YY1_Channel_SDH"] == "app"
    connector.close()


def test_each_change_within_a_day_is_an_event_for_rows_with_dates(cap: Cap, version: int) -> None:
    today = datetime.now(UTC).date().isoformat()
    path = f"/API_OUTBOUND_DELIVERY_SRV/A_OutbDeliveryHeader('{8_000 + version}')"
    connector = open_source(cap, version, streams={"deliveries": None})
    found: dict[UUID, str] = {}
    for goods, proof in (("A", "A"), ("C", "A"), ("C", "C")):
        fields = {"OverallGoodsMovementStatus": goods, "OverallProofOfDeliveryStatus": proof}
        cap.write("PUT", path, SoldToParty="17", LastChangeDate=today, **fields)
        for each in touchpoints(connector, "deliveries", window=Window(datetime.now(UTC) - timedelta(days=2))):
            if each.attributes["delivery"] == str(8_000 + version):
                found[each.event_id] = each.type
    assert list(found.values()) == ["shipment.planned", "shipment.sent", "delivery.completed"]
    connector.close()


def settings_file(folder: Path, cap: Cap, name: str, **others: Any) -> Path:
    path = folder / "settings.yaml"
    given = {"name": name, "url": cap.url(2), "username": USER, "page": 50, "poll_seconds": 0.2, **others}
    path.write_text(yaml.safe_dump(given))
    return path


def connect(path: Path, kafka: KafkaSettings, *options: str) -> subprocess.Popen[str]:
    name = yaml.safe_load(path.read_text())["name"].upper().replace("-", "_")
    environment = {"TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, f"TOUCHLINE_{name}_PASSWORD": PASSWORD}
    command = [str(TOUCHLINE), "connect", "odata", "--settings", str(path), *options]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_at_each_step_loses_nothing_and_totals_are_exact(cap: Cap, migrated: Stack, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"kill-{uuid4().hex[:12]}"
    path = settings_file(tmp_path, cap, name)
    kill_at_each_step(path, kafka, "odata", **{secret_variable(name, "password"): PASSWORD})
    code, _, err = wait_for_exit(connect(path, kafka, "--once"), 120)
    assert code == 0, err
    connector = open_source(cap, 2, name=name)
    assert set(published(kafka, name)) == {one.event_id.bytes for one in touchpoints(connector)}
    connector.close()
    state = states(kafka, name)["sales_orders"]
    assert (state.read, state.dead_lettered, state.repeated) == (state.published, 0, 0)
    assert state.published == len(set(published(kafka, name))) >= ORDERS


@pytest.mark.slow
def test_rejected_order_is_event_and_deleted_order_only_changes_count(cap: Cap, migrated: Stack, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")
    name = f"gone-{uuid4().hex[:12]}"
    start = (DAY + timedelta(days=1)).isoformat()
    path = settings_file(tmp_path, cap, name, start=start, page=500)
    cap.order(910_000, "PUT", SoldToParty="5", OverallSDProcessStatus="A")
    cap.order(910_001, "PUT", SoldToParty="5", OverallSDProcessStatus="A")
    time.sleep(1.1)
    assert wait_for_exit(connect(path, kafka, "--once"))[0] == 0
    cap.order(910_000, OverallSDDocumentRejectionSts="C")
    cap.order(910_001, "DELETE")
    time.sleep(1.1)
    assert wait_for_exit(connect(path, kafka, "--once"))[0] == 0
    connector = open_source(cap, 2, name=name)
    found = {one.order_id: one for one in orders(connector, window=Window(OLD.end))}
    assert found["0000910000"].type == "order.cancelled"
    assert found["0000910000"].event_id.bytes in published(kafka, name)
    assert "0000910001" not in found
    connector.close()
    code, out, err = wait_for_exit(connect(path, kafka, "--backfill", "2026-03-01"))
    assert code == 0, err
    assert "nothing missing" in out


def test_rejected_order_moves_score_of_customer(cap: Cap, line: Line, tmp_path: Path) -> None:
    cap.order(920_000, "PUT", SoldToParty="33", OverallSDProcessStatus="A")
    time.sleep(0.01)
    path = settings_file(tmp_path, cap, "live-sap", start=datetime.now(UTC).isoformat())
    with line.connect("odata", path, TOUCHLINE_LIVE_SAP_PASSWORD=PASSWORD):
        found = line.measure_lag(
            "odata", "sap-s4", "an order is rejected", lambda: cap.order(920_000, OverallSDDocumentRejectionSts="C")
        )
    assert 0 < found.touchpoint <= found.score
