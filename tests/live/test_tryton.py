"""A real Tryton 8.2 server: quotes, an order with all its steps, returns, deletes, kills, permissions, lag."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from connectors.settings import secret_variable
from schemas.records.fields import instant
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import STEPS, TOUCHLINE, kill_at_each_step, records, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live.line import Line
from tests.live.tryton.server import CUSTOMERS, MAX_WAIT_SECONDS, PASSWORD, RETURNS, Tryton, tryton

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.slow]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Tryton]:
    with tryton(tmp_path) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"tryton-{uuid4().hex[:12]}"


def write(folder: Path, server: Tryton, name: str, **settings: object) -> Path:
    path = folder / "tryton.yaml"
    given = {"name": name, "url": server.url, "user": "admin", "timeout_seconds": MAX_WAIT_SECONDS, **settings}
    path.write_text(yaml.safe_dump(given))
    return path


def connect(settings: Path, *options: str, password: str = PASSWORD) -> subprocess.Popen[str]:
    name = yaml.safe_load(settings.read_text())["name"]
    command = [*TOUCHLINE, "connect", "tryton", "--settings", str(settings), *options]
    environment = {**os.environ, secret_variable(name, "password"): password}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(settings: Path, *options: str) -> str:
    """Run the connector until it has read everything, and return its output."""
    code, out, err = wait_for_exit(connect(settings, *options), 120)
    assert code == 0, err
    return out + err


def published(kafka: KafkaSettings, name: str, *sources: str) -> list[dict[str, Any]]:
    return [record for source in sources for record in records(kafka, f"touchline.{source}", name)]


def times_by_id(rows: list[tuple[Any, ...]]) -> dict[str, datetime]:
    """Return the times of rows by their ids."""
    return {str(number): datetime.fromisoformat(at).replace(tzinfo=UTC) for number, at in rows}


def expect_logged(server: Tryton, stream: str, about: str, *targets: str) -> dict[bytes, datetime]:
    """Return the expected events of the log's rows from the database."""
    names = ", ".join(f"'{target}'" for target in targets)
    sql = f"SELECT id, create_date FROM ir_model_log WHERE target IN ({names}) AND resource LIKE '{about},%'"
    return {event_id("tryton", f"{stream}:{row}", at.isoformat()).bytes: at for row, at in times_by_id(server.sql(sql)).items()}


def quotes(server: Tryton) -> dict[bytes, datetime]:
    return expect_logged(server, "sales", "sale.sale", "state:quotation")


def confirm(server: Tryton, sales: list[int], shipments: str) -> list[int]:
    """Confirm sales and return their shipments."""
    for step in ("quote", "confirm"):
        server.call(f"sale.sale.{step}", sales)
    return [one for sale in server.call("sale.sale.read", sales, [shipments]) for one in sale[shipments]]


def ship(server: Tryton, sales: list[int]) -> list[int]:
    """Confirm sales, ship the goods in one transaction, and return the shipments."""
    shipments = confirm(server, sales, "shipments")
    for step in ("assign_try", "pick", "pack", "do"):
        server.call(f"stock.shipment.out.{step}", shipments)
    return shipments


def take_back(server: Tryton, sales: list[int]) -> list[int]:
    """Confirm sales of returned goods, receive them in one transaction, and return the shipments."""
    shipments = confirm(server, sales, "shipment_returns")
    for step in ("receive", "do"):
        server.call(f"stock.shipment.out.return.{step}", shipments)
    return shipments


def deliveries(server: Tryton) -> dict[bytes, datetime]:
    ship(server, list(range(1, RETURNS + 1)))
    customers = "SELECT id FROM stock_location WHERE type = 'customer'"
    found = times_by_id(
        server.sql(f"SELECT id, write_date FROM stock_move WHERE state = 'done' AND to_location IN ({customers})")
    )
    return {event_id("tryton", f"moves:{move}", "done").bytes: at for move, at in found.items()}


def returns(server: Tryton) -> dict[bytes, datetime]:
    take_back(server, list(range(CUSTOMERS + 1, CUSTOMERS + RETURNS + 1)))
    return expect_logged(server, "returns", "stock.shipment.out.return", "receive", "state:done")


def create_parties(server: Tryton) -> dict[bytes, datetime]:
    contacts = [["create", [{"type": "email", "value": "new@example.org"}, {"type": "phone", "value": "+12125550199"}]]]
    server.call("party.party.create", [{"name": "New", "contact_mechanisms": contacts} for _ in range(RETURNS)])
    found = times_by_id(server.sql("SELECT id, create_date FROM party_party"))
    return {event_id("tryton", f"parties.new:{party}", at.isoformat()).bytes: at for party, at in found.items()}


def write_contacts(server: Tryton) -> dict[bytes, datetime]:
    emails = [row for (row,) in server.sql(f"SELECT id FROM party_contact_mechanism WHERE type = 'email' LIMIT {RETURNS}")]
    pairs = [([row], {"value": f"w{row}@example.org"}) for row in emails]
    server.call("party.contact_mechanism.write", *(part for pair in pairs for part in pair))
    server.call(
        "party.contact_mechanism.create", [{"party": 2 + n, "type": "email", "value": "two@example.org"} for n in range(RETURNS)]
    )
    server.change("UPDATE party_contact_mechanism SET write_date = NULL WHERE value = 'two@example.org'")  # no later change
    seen = "SELECT id, COALESCE(write_date, create_date) FROM party_contact_mechanism WHERE value LIKE 'w%' OR value LIKE 'two%'"
    return {
        event_id("tryton", f"parties.changed:{row}", at.isoformat()).bytes: at
        for row, at in times_by_id(server.sql(seen)).items()
    }


@pytest.mark.parametrize(
    ("stream", "source", "happened", "at_once"),
    [
        ("sales", "erp", quotes, CUSTOMERS),
        ("moves", "inventory", deliveries, 2 * RETURNS),
        ("returns", "inventory", returns, RETURNS),
        ("parties.new", "crm", create_parties, RETURNS),
        ("parties.changed", "crm", write_contacts, RETURNS),
    ],
)
def test_kill_at_each_step_neither_loses_nor_repeats_records_of_one_time(
    tmp_path: Path,
    server: Tryton,
    kafka: KafkaSettings,
    name: str,
    stream: str,
    source: str,
    happened: Callable[[Tryton], dict[bytes, datetime]],
    at_once: int,
) -> None:
    settings = write(tmp_path, server, name, streams=[stream], page=2)
    wanted = happened(server)
    assert max(Counter(wanted.values()).values()) == at_once
    time.sleep(1.1)  # the server's `Date` has no fractions, so events of this second wait for a later round
    kill_at_each_step(settings, kafka, "tryton", **{secret_variable(name, "password"): PASSWORD})
    read(settings, "--once")
    found = Counter(record["event_id"] for record in published(kafka, name, source))
    assert found.keys() == wanted.keys()
    assert found.total() <= len(wanted) + 2 * len(STEPS)
    [state] = states(kafka, name).values()
    assert (state.published, state.dead_lettered) == (len(wanted), 0)
    assert state.read == state.published + state.repeated


def count(kafka: KafkaSettings, name: str) -> int:
    return sum(state.published for state in states(kafka, name).values())


@pytest.mark.parametrize(
    ("stream", "source", "happened"),
    [("sales", "erp", quotes), ("moves", "inventory", deliveries), ("parties.new", "crm", create_parties)],
)
def test_backfill_matches_count_and_second_round_publishes_nothing(
    tmp_path: Path,
    server: Tryton,
    kafka: KafkaSettings,
    name: str,
    stream: str,
    source: str,
    happened: Callable[[Tryton], dict[bytes, datetime]],
) -> None:
    wanted = happened(server)
    settings = write(tmp_path, server, name, streams=[stream, "parties"], start=datetime.now(UTC).isoformat())
    read(settings, "--once")
    assert count(kafka, name) == 0
    output = read(settings, "--backfill", "2026-01-01")
    assert f"{len(wanted)} at the source: nothing missing" in output
    assert wanted.keys() == {record["event_id"] for record in published(kafka, name, source)}


def test_order_is_read_from_confirmation_to_invoice_and_cancelled_shipment(
    tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, start=datetime.now(UTC).isoformat(), page=3)
    sale, other = 1, 2
    shipments = ship(server, [sale])
    [[invoice]] = server.sql("SELECT id FROM account_invoice")
    server.call("account.invoice.post", [invoice])
    for step in ("quote", "cancel"):
        server.call(f"sale.sale.{step}", [other])
    server.call("sale.opportunity.lost", [1])
    time.sleep(1.1)
    read(settings, "--once")
    found = published(kafka, name, "erp", "inventory", "crm")
    assert Counter(record["type"] for record in found) == {
        "quote.made": 2,
        "order.placed": 1,
        "quote.cancelled": 1,
        "delivery.completed": 1,
        "goods.delivered": 2,
        "invoice.issued": 1,
        "opportunity.lost": 1,
    }
    [placed] = [record for record in found if record["type"] == "order.placed"]
    [[number, at]] = server.sql(
        f"SELECT number, (SELECT create_date FROM ir_model_log WHERE target = 'state:confirmed' \
        AND resource = 'sale.sale,{sale}') FROM sale_sale WHERE id = {sale}"
    )
    assert (placed["order_id"], placed["amount"], placed["currency"]) == (number, 250_000, "USD")
    known = {one["kind"]: one["value"] for one in placed["identifiers"]}
    assert known["email"] == "c0@example.org"
    assert known["phone"] == "+12125550000"
    assert instant(placed["occurred_at"]) - datetime.fromisoformat(at).replace(tzinfo=UTC) <= timedelta(0)
    [delivered] = [record for record in found if record["type"] == "delivery.completed"]
    assert (delivered["order_id"], delivered["delay_days"]) == (number, 0)
    goods = {record["product"]: record for record in found if record["type"] == "goods.delivered"}
    assert {product: record["quantity"] for product, record in goods.items()} == {"W-1": 2.0, "Gadget": 1.0}
    assert {record["order_id"] for record in goods.values()} == {number}
    assert {record["key"] for record in goods.values()} == {b"email:c0@example.org"}
    read(settings, "--once")
    assert len(published(kafka, name, "erp", "inventory", "crm")) == len(found)

    server.call("stock.shipment.out.cancel", shipments)
    time.sleep(1.1)
    read(settings, "--once")
    later = Counter(record["type"] for record in published(kafka, name, "inventory"))
    assert later - Counter(record["type"] for record in found) == {"shipment.cancelled": 1, "goods.delivery_cancelled": 2}


def test_returned_goods_are_published_per_line_and_again_when_cancelled(
    tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, streams=["returns", "moves"])
    shipments = take_back(server, [CUSTOMERS + 1])
    time.sleep(1.1)
    read(settings, "--once")
    found = published(kafka, name, "inventory")
    assert Counter(record["type"] for record in found) == {"return.received": 1, "return.completed": 1, "goods.returned": 2}
    goods = {record["product"]: record["quantity"] for record in found if record["type"] == "goods.returned"}
    assert goods == {"W-1": 1.0, "Gadget": 1.0}
    assert {record["key"] for record in found} == {b"email:c0@example.org"}
    [[number]] = server.sql(f"SELECT number FROM sale_sale WHERE id = {CUSTOMERS + 1}")
    assert {record["order_id"] for record in found} == {number}

    server.change("UPDATE stock_move SET write_date = strftime('%Y-%m-%d %H:%M:%f', 'now')")  # as computing costs again does
    time.sleep(1.1)
    read(settings, "--once")
    assert len(published(kafka, name, "inventory")) == len(found)

    server.call("stock.shipment.out.return.cancel", shipments)
    time.sleep(1.1)
    read(settings, "--once")
    later = Counter(record["type"] for record in published(kafka, name, "inventory"))
    assert later - Counter(record["type"] for record in found) == {"return.cancelled": 1, "goods.return_cancelled": 2}


def test_new_party_and_each_new_contact_are_published_once(
    tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, streams=["parties.new", "parties.changed"], start=datetime.now(UTC).isoformat())
    given = {"email": "a@example.org", "phone": "+12125550199", "mobile": "+12125550197"}
    contacts = [["create", [{"type": kind, "value": value} for kind, value in given.items()]]]
    [party] = server.call("party.party.create", [{"name": "New", "contact_mechanisms": contacts}])
    [[email]] = server.sql(f"SELECT id FROM party_contact_mechanism WHERE party = {party} AND type = 'email'")

    def run_step(step: Callable[..., Any], *parts: Any) -> list[tuple[str, list[str]]]:
        """Return the events published after a step and two rounds."""
        before = {record["event_id"] for record in published(kafka, name, "crm")}
        step(*parts)
        time.sleep(1.1)
        for _ in range(2):
            read(settings, "--once")
        after = published(kafka, name, "crm")
        assert len({record["event_id"] for record in after}) == len(after)
        new = [record for record in after if record["event_id"] not in before]
        return sorted((record["type"], [one["value"] for one in record["identifiers"]]) for record in new)

    known = f"tryton/{party}"
    first = [("party.changed", ["+12125550197", known]), ("party.created", ["a@example.org", "+12125550199", known])]
    assert run_step(time.sleep, 0) == first
    by_itself = run_step(server.call, "party.contact_mechanism.write", [email], {"value": "b@example.org"})
    assert by_itself == [("party.changed", ["b@example.org", known])]
    through_party = {"contact_mechanisms": [["write", [email], {"value": "c@example.org"}]]}
    assert run_step(server.call, "party.party.write", [party], through_party) == [("party.changed", ["c@example.org", known])]
    mobile = {"party": party, "type": "mobile", "value": "+12125550198"}
    assert run_step(server.call, "party.contact_mechanism.create", [mobile]) == [("party.changed", ["+12125550198", known])]
    assert run_step(server.call, "party.party.write", [party], {"name": "Newer"}) == []
    assert run_step(server.call, "party.contact_mechanism.write", [email], {"comment": "at work"}) == []


def test_deleted_parties_have_their_ids(tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str) -> None:
    settings = write(tmp_path, server, name, streams=["parties"], page=7)
    parties = server.call("party.party.create", [{"name": "Gone"} for _ in range(60)])
    gone = [one for one in parties if one % 7 in (0, 3)]
    assert {len(str(one)) for one in gone} == {2, 3}
    server.call("party.party.delete", gone)
    time.sleep(1.1)
    read(settings, "--once")
    found = published(kafka, name, "crm")
    assert {record["type"] for record in found} == {"party.deleted"}
    assert Counter(one["value"] for record in found for one in record["identifiers"]) == Counter(f"tryton/{one}" for one in gone)
    assert len({UUID(bytes=record["event_id"]) for record in found}) == len(gone)


def test_deleted_parties_without_log_row_are_found_by_comparison(
    tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, streams=["parties.gone"], compare_seconds=0.1, page=7)
    parties = server.call("party.party.create", [{"name": "Gone"} for _ in range(40)])
    server.call("party.party.write", parties[30:], {"active": False})
    read(settings, "--once")
    logged, unlogged = parties[:20:2], parties[1:20:2]
    server.call("party.party.delete", logged + unlogged)
    names = [f"'party.party,{one}'" for one in unlogged]
    server.change(f"DELETE FROM ir_model_log WHERE event = 'delete' AND resource IN ({', '.join(names)})")
    assert published(kafka, name, "crm") == []
    for _ in range(2):
        time.sleep(1.1)
        read(settings, "--once")
        found = published(kafka, name, "crm")
        assert {record["type"] for record in found} == {"party.deleted"}
        gone = Counter(one["value"] for record in found for one in record["identifiers"])
        assert gone == Counter(f"tryton/{one}" for one in unlogged)


@pytest.mark.parametrize(
    ("change", "password", "message"),
    [
        ({}, "wrong", "_PASSWORD"),
        ({"user": "reader"}, "not-an-administrator", "make `user` an administrator"),
        ({"url": "/nothing"}, PASSWORD, "check `url`"),
    ],
)
def test_check_names_setting_to_change(
    tmp_path: Path, server: Tryton, change: dict[str, str], password: str, message: str
) -> None:
    given = {**change, "url": server.url.replace("/ct", change["url"])} if "url" in change else change
    code, out, err = wait_for_exit(connect(write(tmp_path, server, "check", **given), "--check", password=password))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_check_names_missing_module_and_its_streams(tmp_path: Path, server: Tryton) -> None:
    server.change("UPDATE ir_module SET state = 'not activated' WHERE name = 'stock'")
    code, out, err = wait_for_exit(connect(write(tmp_path, server, "check"), "--check"))
    assert (code, out) == (2, "")
    assert "lacks the module stock: activate it, or remove shipments, returns, moves from `streams`" in err


def test_confirmed_order_moves_risk_of_customer(
    line: Line, tmp_path: Path, server: Tryton, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, system="tryton-lag", start=datetime.now(UTC).isoformat(), poll_seconds=0.5)
    server.call("sale.sale.quote", [3])
    with line.connect("tryton", settings, **{secret_variable(name, "password"): PASSWORD}):
        eventually(lambda: count(kafka, name) > 0)
        found = line.measure_lag("tryton", "tryton-lag", "an order is confirmed", lambda: server.call("sale.sale.confirm", [3]))
    assert 0 < found.touchpoint <= found.score
