"""Tables for readers: right after each step, with repeated, late, corrected, merged and concurrent records."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local.state import Stack
from schemas.errors import TouchlineError
from schemas.wire.codec import Fields
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.contract import RECORD, Row, Table, load_tables
from sinks.scripts import load_migrations
from tests.harness.sink_faults import without_merges
from tests.harness.sinks import (
    COPIES,
    NOW,
    Stored,
    ask,
    encode_record,
    journey,
    reading,
    refresh,
    resolved,
    route,
    survey,
    to_uuid,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
DAY = 86_400_000
SORTED_ANEW = {
    "touchpoints": ("resolved", resolved), "satisfaction": ("reading", reading), "churn": ("reading", reading),
    "signals": ("reading", reading), "journeys": ("journey", journey),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def unmerged(migrated: Stack) -> Iterator[None]:
    with without_merges():
        yield


@pytest.fixture
def name() -> str:
    """Return the name of a system for this test alone."""
    return f"test-{uuid4().hex[:12]}"


def insert(name: str, schema: str, records: Sequence[Fields], offset: int = 0) -> None:
    """Insert one block as the sink does, under a new token."""
    store(load_tables()[name], schema, records, offset, uuid4().hex)


def store(table: Table, schema: str, records: Sequence[Fields], offset: int = 0, token: str = "first") -> None:
    client = ClickHouse()
    found = [Stored(table.topic, 0, offset + number, encode_record(schema, record)) for number, record in enumerate(records)]
    rows = transform(table, found).rows
    try:
        client.insert(table.stored, table.columns, list(zip(*rows, strict=True)), token)
    finally:
        client.close()


def blocks(records: Sequence[Fields], size: int) -> Iterable[Sequence[Fields]]:
    return (records[start : start + size] for start in range(0, len(records), size))


def now_of(system: str) -> dict[UUID, UUID]:
    """Return the customer of each touchpoint in the view, which must show each touchpoint once."""
    rows = ask("SELECT event_id, customer_id FROM touchline.touchpoints WHERE system = {system:String}", {"system": system})
    found = {row["event_id"]: row["customer_id"] for row in rows}
    assert len(found) == len(rows)
    return found


class Model:
    """Expected state after each step: the newest version of each touchpoint, and the current customer of each one."""

    def __init__(self, name: str, dice: random.Random) -> None:
        self.name, self.dice = name, dice
        self.customers = [uuid4().bytes for _ in range(6)]
        self.begun = 1_104_537_600_000 + dice.randrange(9_000) * DAY
        self.sent: list[Fields] = []
        self.newest: dict[bytes, Fields] = {}
        self.nodes = {customer: [uuid4().bytes for _ in range(3)] for customer in self.customers}
        self.current = {customer: customer for customer in self.customers}
        self.exceptions: dict[bytes, dict[bytes, bytes]] = {customer: {} for customer in self.customers}
        self.shared: dict[bytes, set[bytes]] = {customer: set() for customer in self.customers}
        self.routes = 0

    def said(self, **fields: Any) -> Fields:
        dice = self.dice
        customer = dice.choice(self.customers)
        return survey(
            **{
                "system": self.name,
                "stage": self.name,
                "customer_id": customer,
                "nodes": dice.sample(self.nodes[customer], dice.randrange(4)) or None,
                "attributes": {"segment": f"{self.name}-{dice.choice(['home', 'business'])}"},
                "occurred_at": self.begun + dice.randrange(4 * DAY),
                "received_at": NOW + len(self.sent),
                "channel": dice.choice(["web", "phone"]),
                "metric": "nps",
                "answer": float(dice.randrange(11)),
                "scale_low": 0,
                "scale_high": 10,
                **fields,
            }
        )

    def store(self, records: Sequence[Fields]) -> None:
        """Store in one block or in two."""
        for block in blocks(records, self.dice.choice([len(records), (len(records) + 1) // 2])):
            insert("touchpoints", "resolved", block)
        for each in records:
            if each["received_at"] >= self.newest.get(each["event_id"], each)["received_at"]:
                self.newest[each["event_id"]] = each

    def new(self) -> None:
        records = []
        for _ in range(self.dice.randrange(1, 8)):
            records.append(self.said())
            self.sent.append(records[-1])
        self.store(records)

    def again(self) -> None:
        """Send any earlier versions again."""
        if self.sent:
            self.store(self.dice.choices(self.sent, k=self.dice.randrange(1, 8)))

    def corrected(self) -> None:
        """Send a touchpoint again with another customer, day, channel and answer, or without an answer."""
        if self.sent:
            known = self.dice.choice(self.sent)["event_id"]
            self.sent.append(self.said(event_id=known, **({"answer": None} if self.dice.random() < 0.2 else {})))
            self.store(self.sent[-1:])

    def merged(self) -> None:
        """Route all touchpoints of a customer, and of those merged into it, to another one."""
        lost, kept = self.dice.sample(self.customers, 2)
        for each in [customer for customer, current in self.current.items() if current == lost]:
            self.current[each] = kept
            self.route(each)

    def split(self) -> None:
        """Give one identifier of a customer to any customer, or share it, or take all routes of the customer back."""
        customer = self.dice.choice(self.customers)
        node = self.dice.choice(self.nodes[customer])
        match self.dice.randrange(4):
            case 0:
                self.shared[customer].add(node)
            case 1:
                self.current[customer], self.exceptions[customer], self.shared[customer] = customer, {}, set()
            case _:
                self.exceptions[customer][node] = self.dice.choice(self.customers)
        self.route(customer)

    def route(self, customer: bytes) -> None:
        record = route(customer, self.current[customer], self.exceptions[customer], sorted(self.shared[customer]))
        insert("routes", "route", [record], offset=self.routes)
        self.routes += 1

    def owner(self, touched: Fields) -> bytes:
        """Return the customer of a touchpoint by its route: its first identifier that is not shared decides.

        With shared identifiers only, the first of them is the customer.
        """
        customer: bytes = touched["customer_id"]
        nodes: Sequence[bytes] = touched["nodes"] or ()
        decisive = [each for each in nodes if each not in self.shared[customer]]
        if nodes and not decisive:
            return nodes[0]
        return self.exceptions[customer].get(decisive[0] if nodes else b"", self.current[customer])

    def true(self) -> list[Fields]:
        return [{**each, "customer_id": self.owner(each)} for each in self.newest.values()]

    def check(self) -> None:
        """Compare touchpoints and count of each customer, scores by day and channel, and the totals."""
        of_customer: dict[UUID, dict[UUID, Any]] = defaultdict(dict)
        scores: dict[tuple[date, str], list[float]] = defaultdict(list)
        for each in self.true():
            happened = datetime.fromtimestamp(each["occurred_at"] / 1000, UTC)
            of_customer[to_uuid(each["customer_id"])][to_uuid(each["event_id"])] = (happened, each["channel"], each["answer"])
            scores[(happened.date(), each["channel"])] += [each["answer"]] * (each["answer"] is not None)
        for customer in map(to_uuid, {*self.customers, *(each["customer_id"] for each in self.true())}):
            parameters = {"customer": customer}
            rows = ask("SELECT * FROM touchline.touchpoints WHERE customer_id = {customer:UUID} ORDER BY ALL", parameters)
            assert ask("SELECT * FROM touchline.touchpoints_of(customer_id = {customer:UUID}) ORDER BY ALL", parameters) == rows
            assert len(rows) == len(of_customer[customer])
            assert {row["event_id"]: (row["occurred_at"], row["channel"], row["nps"]) for row in rows} == of_customer[customer]
            counted = ask("SELECT * FROM touchline.customers WHERE customer_id = {customer:UUID}", parameters)
            assert ask("SELECT * FROM touchline.customers_of(customer_id = {customer:UUID})", parameters) == counted
            assert sum(row["touchpoints"] for row in counted) == len(rows)
        kpis = ask(
            "SELECT day, value_of_dimension AS channel, n, favourable, unfavourable FROM touchline.kpis"
            " WHERE dimension = 'channel' AND day BETWEEN {since:Date} AND {since:Date} + 4",
            {"since": datetime.fromtimestamp(self.begun / 1000, UTC).date()},
        )
        assert {(row["day"], row["channel"]): (row["n"], row["favourable"], row["unfavourable"]) for row in kpis} == {
            place: (len(found), sum(each >= 9 for each in found), sum(each <= 6 for each in found))
            for place, found in scores.items()
        }
        assert Counter(now_of(self.name).keys()) == Counter(map(to_uuid, self.newest))


@pytest.mark.parametrize("seed", range(3))
def test_views_equal_plain_python_after_every_step(name: str, seed: int) -> None:
    model = Model(name, random.Random(seed))
    model.new()
    for _ in range(12):
        steps = [model.new, model.again, model.corrected, model.merged, model.split]
        step = model.dice.choices(steps, [3, 3, 4, 2, 4])[0]
        step()
        model.check()
    for table in ("touchpoints_by_event", "answers"):
        ask(f"SYSTEM START MERGES touchline_store.{table}")
        ask(f"OPTIMIZE TABLE touchline_store.{table} FINAL")
        ask(f"SYSTEM STOP MERGES touchline_store.{table}")
    model.check()
    refresh()
    for day in {each["occurred_at"] // DAY for each in model.true()}:
        happened = [each for each in model.true() if each["occurred_at"] // DAY == day]
        rows = ask(
            "SELECT sum(touchpoints) AS n FROM touchline.pain_points_between(since = {day:Date}, until = {day:Date})"
            " WHERE stage = {stage:String}",
            {"day": datetime.fromtimestamp(day * 86_400, UTC).date(), "stage": name},
        )
        assert rows[0]["n"] == len(happened)


def test_concurrent_merges_and_touchpoints_leave_no_row_twice_or_missing(name: str) -> None:
    pairs = [(uuid4().bytes, uuid4().bytes) for _ in range(30)]
    touched = [resolved(system=name, customer_id=lost) for lost, _ in pairs for _ in range(3)]
    stored: list[UUID] = []

    def touch() -> None:
        for block in blocks(touched, 3):
            insert("touchpoints", "resolved", block)
            stored.extend(to_uuid(each["event_id"]) for each in block)

    def join() -> None:
        for number, pair in enumerate(pairs):
            insert("routes", "route", [route(*pair)], offset=number)

    hammers = [threading.Thread(target=touch), threading.Thread(target=join)]
    for hammer in hammers:
        hammer.start()
    looks = 0
    while any(hammer.is_alive() for hammer in hammers) or not looks:
        there = list(stored)
        found = now_of(name)
        assert found.keys() >= set(there)
        assert found.keys() <= {to_uuid(each["event_id"]) for each in touched}
        looks += 1
    kept = dict(pairs)
    assert now_of(name) == {to_uuid(each["event_id"]): to_uuid(kept[each["customer_id"]]) for each in touched}


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_touchpoints_follow_merges_in_any_order_of_storing(data: st.DataObject) -> None:
    """In a chain of merges, each earlier customer gets a route to the last one."""
    name, customers = f"test-{uuid4().hex[:12]}", [uuid4().bytes for _ in range(4)]
    touched = [resolved(system=name, customer_id=customer) for customer in customers for _ in range(2)]
    merges = [[route(lost, customers[kept]) for lost in customers[:kept]] for kept in range(1, 4)]
    arrivals = data.draw(st.permutations([*range(len(touched)), *["merges"] * len(merges)]))
    again = data.draw(st.lists(st.sampled_from(range(len(touched))), max_size=3))
    stored = 0
    for arrival in [*arrivals, *again]:
        if isinstance(arrival, int):
            insert("touchpoints", "resolved", [touched[arrival]])
        else:
            insert("routes", "route", merges[stored], offset=10 * stored)
            stored += 1
    assert now_of(name) == {to_uuid(each["event_id"]): to_uuid(customers[3]) for each in touched}


def test_repeated_rows_in_other_blocks_change_no_view(name: str) -> None:
    dice = random.Random(20261122)
    customers = [uuid4().bytes for _ in range(20)]
    begun = 1_104_537_600_000 + dice.randrange(9_000) * DAY
    touched = [
        make(
            system=name,
            stage=name,
            customer_id=dice.choice(customers),
            occurred_at=begun + dice.randrange(3) * DAY,
            attributes={"segment": dice.choice([f"{name}-home", f"{name}-business"])},
            **extra,
        )
        for make, extra in [(resolved, {"amount": 10_000, "currency": "EUR"}), (survey, {"metric": "nps", "answer": 9.0,
            "scale_low": 0, "scale_high": 10})] * 150
    ]  # fmt: skip
    readings = [
        reading(customer_id=each["customer_id"], event_id=each["event_id"], at=each["occurred_at"], numbers={"change": 1.5})
        for each in touched
    ]
    travels = [journey(customer_id=customer) for customer in customers]
    before: list[Any] | None = None
    for size in (300, 70, 41):
        dice.shuffle(touched)
        for block in blocks(touched, size):
            insert("touchpoints", "resolved", block)
        for table in ("satisfaction", "churn", "signals"):
            for block in blocks(readings, size):
                insert(table, "reading", block)
        for block in blocks(travels, size):
            insert("journeys", "journey", block)
        refresh()
        found = everything(name, customers, begun)
        assert found == (before or found)
        before = found
    touchpoints, of_customers, *_, pains, pains_between, scores, scores_of_segments = found
    assert [len(touchpoints), len(of_customers)] == [300, 20]
    assert pains_between == pains
    assert sum(row["n"] for row in pains_between) == 300
    segments = {row["customer_id"]: row["segment"] for row in of_customers}
    assert segments == latest_segments(touched)
    answers = Counter(segments[to_uuid(each["customer_id"])] for each in touched if each["source"] == "feedback")
    assert {row["value_of_dimension"]: row["n"] for row in scores_of_segments} == answers
    assert sum(row["n"] for row in scores) == 2 * 150  # by stage and by system


def latest_segments(touched: Sequence[Fields]) -> dict[UUID, str]:
    """Return the last segment of each customer; among equal times, that of the greatest event id."""
    given = sorted(touched, key=lambda each: (each["occurred_at"], each["event_id"]))
    return {to_uuid(each["customer_id"]): each["attributes"]["segment"] for each in given}


def everything(name: str, customers: list[bytes], begun: int) -> list[Any]:
    """Return the rows of the views for these customers and this stage."""
    chosen = ", ".join(f"'{to_uuid(customer)}'" for customer in customers)
    first = datetime.fromtimestamp(begun / 1000, UTC).date()
    days = f"since = '{first}', until = '{first + timedelta(days=3)}'"
    views = ("touchpoints", "customers", "satisfaction", "churn", "signals", "journeys")
    columns = {"touchpoints": "* EXCEPT stored_at"}
    of_customers = [
        ask(f"SELECT {columns.get(view, '*')} FROM touchline.{view} WHERE customer_id IN ({chosen}) ORDER BY ALL")
        for view in views
    ]
    return [
        *of_customers,
        ask(f"SELECT * FROM touchline.pain_points WHERE stage = '{name}' ORDER BY ALL"),
        ask(f"SELECT * FROM touchline.pain_points_between({days}) WHERE stage = '{name}' ORDER BY ALL"),
        ask(f"SELECT * FROM touchline.kpis WHERE value_of_dimension = '{name}' AND day >= '{first}' ORDER BY ALL"),
        ask(
            "SELECT value_of_dimension, sum(n) AS n FROM touchline.kpis"
            f" WHERE dimension = 'segment' AND value_of_dimension IN ('{name}-home', '{name}-business')"
            " GROUP BY ALL ORDER BY ALL"
        ),
    ]


def test_one_customer_is_found_without_reading_the_others() -> None:
    """The tables hold 100,000 touchpoints and readings in granules of 1,024 or 8,192 rows."""
    ask(
        "INSERT INTO touchline_store.touchpoints_by_event (event_id, customer_id, source, occurred_at, received_at)"
        " SELECT sipHash128('e', number), sipHash128('c', number % 50000), 'erp', toDateTime64('1999-01-01', 3, 'UTC') +"
        " toIntervalHour(number), now64(3) FROM numbers(100000)"
    )
    ask(
        "INSERT INTO touchline_store.satisfaction_by_customer (reading_id, customer_id, event_id, at)"
        " SELECT sipHash128('r', number), sipHash128('c', number % 50000), sipHash128('e', number),"
        " toDateTime64('1999-01-01', 3, 'UTC') + toIntervalHour(number) FROM numbers(100000)"
    )
    refresh()
    client = ClickHouse()
    try:
        ((customer,),) = client.query("SELECT toString(toUUID(UUIDNumToString(sipHash128('c', toUInt16(77)))))").rows
        of, since = {"customer": customer}, {"day": "2001-01-01"}
        sql = "SELECT touchpoints FROM touchline.customers_of(customer_id = {customer:UUID})"
        found = client.query(sql, of)
        assert list(found.rows) == [(2,)]
        assert client._client.last_query.progress.rows < 50_000
        found = client.query("SELECT count() FROM touchline.satisfaction WHERE customer_id = {customer:UUID}", of)
        assert list(found.rows) == [(2,)]
        assert client._client.last_query.progress.rows < 20_000
        sql = "SELECT sum(touchpoints) FROM touchline.pain_points_between(since = {day:Date}, until = {day:Date})"
        found = client.query(sql, since)
        assert list(found.rows) == [(24,)]
        assert client._client.last_query.progress.rows < 50_000
    finally:
        client.close()


@pytest.mark.parametrize("name", SORTED_ANEW)
def test_rows_of_an_older_sink_are_shown_before_and_after_the_migration(name: str) -> None:
    """An older sink knows only the first name of the table."""
    schema, make = SORTED_ANEW[name]
    older = find_older_table(name)
    before, after = make(), make()
    (backfill,) = [
        statement
        for script in load_migrations()
        for statement in script.statements
        if statement.startswith(f"INSERT INTO {load_tables()[name].stored} ")
    ]
    (handed_on,) = ask(
        f"SELECT name FROM system.tables WHERE create_table_query LIKE '%MATERIALIZED%TO {load_tables()[name].stored} %'"
    )
    ask(f"DETACH TABLE touchline_store.{handed_on['name']}")
    try:
        store(older, schema, [before], token=uuid4().hex)
    finally:
        ask(f"ATTACH TABLE touchline_store.{handed_on['name']}")
    store(older, schema, [after], token=uuid4().hex)
    assert [len(ask(of_customer(name, each))) for each in (before, after)] == [0, 1]
    columns = ", ".join(column for column in older.columns if column not in RECORD)
    ask(backfill.replace(" SELECT *", f" ({columns}) SELECT {columns}"))
    assert [len(ask(of_customer(name, each))) for each in (before, after)] == [1, 1]


def find_older_table(name: str) -> Table:
    """Return the table as an older sink knows it, with the columns of its first migration."""
    newer = load_tables()[name]
    sql = "SELECT name FROM system.columns WHERE database = 'touchline_store' AND table = {table:String}"
    known = {row["name"] for row in ask(sql, {"table": name})}

    def row(fields: Fields) -> Row:
        return tuple(value for column, value in zip(newer.columns, newer.row(fields), strict=False) if column in known)

    columns = tuple(column for column in newer.columns if column in known)
    return newer._replace(stored=f"touchline_store.{name}", columns=columns, row=row)


def of_customer(name: str, record: Fields) -> str:
    customer = to_uuid(record["customer_id"])
    if name == "touchpoints":
        return f"SELECT * FROM touchline.touchpoints_of(customer_id = '{customer}')"
    return f"SELECT * FROM touchline.{name} WHERE customer_id = '{customer}'"


def test_failed_copy_is_filled_by_the_next_insert() -> None:
    """The row itself is stored already under the same token."""
    touched, token = resolved(), uuid4().hex
    ask("ALTER TABLE touchline_store.touchpoints_of_customers ADD CONSTRAINT broken CHECK customer_id = event_id")
    try:
        with pytest.raises(TouchlineError):
            store(load_tables()["touchpoints"], "resolved", [touched], token=token)
    finally:
        ask("ALTER TABLE touchline_store.touchpoints_of_customers DROP CONSTRAINT broken")
    store(load_tables()["touchpoints"], "resolved", [touched], token=token)
    parameters = {"customer": to_uuid(touched["customer_id"])}
    assert len(ask("SELECT * FROM touchline.touchpoints_of(customer_id = {customer:UUID})", parameters)) == 1


@pytest.mark.parametrize("table", [*COPIES, "touchpoints_by_day", "changes_by_day"])
def test_copies_and_their_columns_have_comments(table: str) -> None:
    (described,) = ask(f"SELECT comment FROM system.tables WHERE database = 'touchline_store' AND name = '{table}'")
    assert described["comment"]
    assert ask(f"SELECT name FROM system.columns WHERE database = 'touchline_store' AND table = '{table}' AND comment = ''") == []
