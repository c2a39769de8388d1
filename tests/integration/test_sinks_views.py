"""The views against plain Python, with duplicates in unmerged parts, merges and deletions."""

import math
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from statistics import fmean
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.state import Stack
from schemas.wire.codec import Fields
from sinks.clickhouse import ClickHouse
from sinks.rights.masks import PARAMETER
from sinks.scripts import Script, load_migrations, load_views
from tests.harness.chain import Chain
from tests.harness.sink_faults import without_merges
from tests.harness.sinks import (
    NOW,
    REFRESHED,
    STATE,
    ask,
    ask_value,
    call_view,
    conflict,
    decision,
    declared,
    journey,
    member,
    publish,
    reading,
    refresh,
    resolved,
    revision,
    route,
    send,
    store,
    survey,
    to_uuid,
)
from tests.harness.student_t import interval

pytestmark = pytest.mark.integration
DAY = 86_400_000
Z = 1.959964
TOP = {2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 2, 10: 3}


@pytest.fixture(scope="module", autouse=True)
def unmerged(migrated: Stack) -> Iterator[None]:
    with without_merges():
        yield


@pytest.fixture
def name() -> str:
    """Return the name of a system or connector for this test alone."""
    return f"test-{uuid4().hex[:12]}"


def feed(records: list[Fields]) -> None:
    publish("touchline.resolved", "resolved", records)
    store("touchpoints")


def test_every_view_has_the_columns_that_its_file_declares() -> None:
    found = ask("SELECT table, name, type, comment FROM system.columns WHERE database = 'touchline'")
    plain = [view.name for view in load_views() if not PARAMETER.search(view.sql)]
    assert {row["table"] for row in found} == set(plain)
    for view in plain:
        shown = {row["name"]: (row["type"], row["comment"]) for row in found if row["table"] == view}
        assert shown == declared(view)
    assert ask("SELECT name FROM system.tables WHERE database = 'touchline' AND comment = ''") == []


@pytest.mark.parametrize("view", [view for view in load_views() if PARAMETER.search(view.sql)], ids=lambda view: view.name)
def test_view_with_a_parameter_shows_only_the_columns_that_its_file_declares(view: Script) -> None:
    """ClickHouse does not apply the column list of such a view. Another column could show personal data in clear."""
    shown = ask(f"DESCRIBE (SELECT * FROM touchline.{call_view(view)})")
    assert [row["name"] for row in shown] == list(declared(view.name))


def test_feeding_twice_leaves_each_touchpoint_once(name: str) -> None:
    records = [resolved(system=name, attributes={"segment": "home"}, amount=12_345_678, currency="EUR") for _ in range(500)]
    feed(records)
    before = ask(f"SELECT * EXCEPT stored_at FROM touchline.touchpoints WHERE system = '{name}' ORDER BY event_id")
    of_customers = f"SELECT * FROM touchline.customers WHERE has(systems, '{name}') ORDER BY customer_id"
    customers = ask(of_customers)
    feed(records[::-1])
    assert ask_value(f"SELECT count() FROM touchline_store.touchpoints_by_event WHERE system = '{name}'") == 1_000
    assert ask(f"SELECT * EXCEPT stored_at FROM touchline.touchpoints WHERE system = '{name}' ORDER BY event_id") == before
    assert ask(of_customers) == customers
    assert {row["event_id"] for row in before} == {to_uuid(record["event_id"]) for record in records}
    assert {row["amount"] for row in before} == {Decimal("1234.5678")}
    assert len(customers) == 500


def test_corrected_date_replaces_the_touchpoint(name: str) -> None:
    wrong = resolved(system=name, occurred_at=852_076_800_000)
    feed([wrong])
    feed([{**wrong, "occurred_at": NOW, "received_at": wrong["received_at"] + 1}])
    assert ask(f"SELECT occurred_at FROM touchline.touchpoints WHERE system = '{name}'") == [
        {"occurred_at": datetime.fromtimestamp(NOW / 1000, UTC)}
    ]


def test_survey_columns_hold_the_answer_of_their_metric_only(name: str) -> None:
    feed([survey(system=name, metric=metric, answer=4.0, scale_low=1, scale_high=7) for metric in ("nps", "csat", "ces")])
    found = ask(f"SELECT nps, csat, ces, sentiment FROM touchline.touchpoints WHERE system = '{name}' ORDER BY metric")
    assert [tuple(row.values()) for row in found] == [(None, None, 4.0, None), (None, 4.0, None, None), (4.0, None, None, None)]


def test_merged_customers_are_one_in_every_view(name: str) -> None:
    lost, kept, final = (uuid4().bytes for _ in range(3))
    feed([resolved(system=name, customer_id=customer, amount=10_000, currency="EUR") for customer in (lost, kept, final)])
    publish("touchline.satisfaction", "reading", [reading(customer_id=lost, value=10.0), reading(customer_id=final, value=30.0)])
    publish("touchline.churn", "reading", [reading(customer_id=lost, signal="churn"), reading(customer_id=final, value=0.25)])
    publish("touchline.journeys", "journey", [journey(customer_id=lost), journey(customer_id=kept), journey(customer_id=final)])
    publish("touchline.identity", "route", [route(lost, kept)])
    store()
    assert now_of(name, lost) == to_uuid(kept)
    publish("touchline.identity", "route", [route(kept, final), route(lost, final)])
    publish("touchline.customers", "customer", [revision(customer, 1) for customer in (lost, kept)])
    store("routes", "revisions")
    assert [now_of(name, customer) for customer in (lost, kept, final)] == [to_uuid(final)] * 3
    for view in ("satisfaction", "churn", "journeys"):
        found = ask(
            f"SELECT customer_id FROM touchline.{view} WHERE customer_id IN ({{a:UUID}}, {{b:UUID}}, {{c:UUID}})",
            {"a": str(to_uuid(lost)), "b": str(to_uuid(kept)), "c": str(to_uuid(final))},
        )
        assert [row["customer_id"] for row in found] == [to_uuid(final)], view
    (customer,) = ask("SELECT * FROM touchline.customers WHERE has(systems, {name:String})", {"name": name})
    assert (customer["customer_id"], customer["touchpoints"], customer["lifetime_value"]) == (to_uuid(final), 3, Decimal(3))
    assert (customer["satisfaction"], customer["churn_risk"], customer["open_journeys"]) == (30.0, 0.25, 1)


def now_of(system: str, then: bytes) -> UUID:
    sql = f"SELECT customer_id FROM touchline.touchpoints WHERE system = '{system}' AND customer_id_then = {{then:UUID}}"
    found: UUID = ask_value(sql, {"then": str(to_uuid(then))})
    return found


def test_split_shows_both_customers_again(name: str) -> None:
    """The split removes the merge: each touchpoint, reading and journey is again where it was before."""
    one, two = uuid4().bytes, uuid4().bytes
    touched = [resolved(system=name, customer_id=each, nodes=[each]) for each in (one, two)]
    feed(touched)
    merged, apart = 1 << 40, 2 << 40
    publish("touchline.satisfaction", "reading", [reading(customer_id=each, version=1, value=10.0) for each in (one, two)])
    publish("touchline.identity", "route", [route(one, two)])
    publish("touchline.customers", "customer", [revision(each, 1) for each in (one, two)])
    publish("touchline.satisfaction", "reading", [reading(customer_id=two, version=merged + 2, value=20.0)])
    store("satisfaction", "routes", "revisions")
    assert scores(one, two) == {(to_uuid(two), 20.0)}
    assert {now_of(name, each) for each in (one, two)} == {to_uuid(two)}
    publish("touchline.identity", "route", [route(one, one), route(two, two, {one: one})])
    publish("touchline.customers", "customer", [revision(each, 2) for each in (one, two)])
    publish("touchline.satisfaction", "reading", [reading(customer_id=each, version=apart, value=30.0) for each in (one, two)])
    late = reading(customer_id=two, version=merged + 3, value=40.0)
    publish("touchline.satisfaction", "reading", [late])
    store("satisfaction", "routes", "revisions")
    assert scores(one, two) == {(to_uuid(one), 30.0), (to_uuid(two), 30.0)}
    assert [now_of(name, each) for each in (one, two)] == [to_uuid(one), to_uuid(two)]
    found = ask("SELECT customer_id, satisfaction FROM touchline.customers WHERE has(systems, {name:String})", {"name": name})
    assert {(row["customer_id"], row["satisfaction"]) for row in found} == {(to_uuid(one), 30.0), (to_uuid(two), 30.0)}


def scores(*customers: bytes) -> set[tuple[UUID, float]]:
    """Return customer and score of each visible satisfaction reading, the same in the view of all and that of one customer."""
    rows = [
        row
        for customer in customers
        for row in ask(
            "SELECT customer_id, score FROM touchline.satisfaction WHERE customer_id = {customer:UUID}",
            {"customer": str(to_uuid(customer))},
        )
    ]
    return {(row["customer_id"], row["score"]) for row in rows}


def test_incomplete_customers_are_listed() -> None:
    customer = uuid4().bytes
    publish("touchline.customers", "customer", [revision(customer, 1, is_complete=False), revision(customer, 2)])
    publish("touchline.customers", "customer", [revision(customer, 2, is_complete=False, touchpoints=7)])
    store("revisions")
    sql = "SELECT revision, is_complete, touchpoints FROM touchline.revisions WHERE customer_id = {customer:UUID}"
    assert ask(sql, {"customer": str(to_uuid(customer))}) == [{"revision": 2, "is_complete": 0, "touchpoints": 7}]


def test_identity_changes_are_the_merges_and_splits_of_members() -> None:
    """One merges into two with its second identifier, which a person splits off later. Each record arrives twice."""
    one, two, second = (uuid4().bytes for _ in range(3))
    touch, split = uuid4().bytes, decision("split", [second], [two])
    nothing = decision("split", [two], [one], reason="a mistake")
    cause = {"event_id": touch, "at": NOW + 1}
    history = [
        *(member(each, one) for each in (one, second)),
        member(two, two),
        *(member(each, two, **cause) for each in (one, second)),
        member(second, second, event_id=split["decision_id"], at=NOW + 2),
    ]
    publish("touchline.identity", "member", [each for each in history for _ in range(2)])
    publish("touchline.identity", "route", [route(each, two, {second: second}) for each in (one, two)])
    publish("touchline.identity", "decision", [split, nothing])
    store("members", "routes", "decisions")
    sql = (
        "SELECT change, from_customer, to_customer, customer_id, who, reason, event_id FROM touchline.identity_changes"
        " WHERE from_customer IN ({one:UUID}, {two:UUID}) ORDER BY at DESC, change"
    )
    found = [tuple(row.values()) for row in ask(sql, {"one": str(to_uuid(one)), "two": str(to_uuid(two))})]
    ids = {each: to_uuid(each) for each in (one, two, second)}
    assert found == [
        ("split", ids[two], ids[second], ids[two], "ann", "two people", to_uuid(split["decision_id"])),
        ("merge", ids[one], ids[two], ids[two], "", "", to_uuid(touch)),
        ("split", ids[two], ids[two], ids[two], "ann", "a mistake", to_uuid(nothing["decision_id"])),
    ]


def test_undone_decision_names_the_decision_that_takes_it_back() -> None:
    join = decision("join", [uuid4().bytes], [uuid4().bytes])
    undo = decision("undo", [], undoes=join["decision_id"])
    publish("touchline.identity", "decision", [join, undo])
    store("decisions")
    made = "SELECT action, undoes, undone_by FROM touchline.identity_decisions WHERE decision_id IN {ids:Array(UUID)}"
    ids = [to_uuid(each["decision_id"]) for each in (join, undo)]
    assert [tuple(row.values()) for row in ask(f"{made} ORDER BY action", {"ids": list(map(str, ids))})] == [
        ("join", None, ids[1]),
        ("undo", ids[0], None),
    ]


def test_conflict_shows_masked_identifiers_with_their_owners_then_and_now() -> None:
    one, other, third = (uuid4().bytes for _ in range(3))
    publish("touchline.identity", "member", [member(one, third), member(other, other)])
    publish("touchline.identity", "conflict", [conflict(one, other)] * 2)
    store("members", "conflicts")
    sql = "SELECT * FROM touchline.identity_conflicts WHERE identifier_id = {one:UUID}"
    (row,) = ask(sql, {"one": str(to_uuid(one))})
    assert (row["customer_id"], row["customer_id_then"]) == (to_uuid(third), to_uuid(one))
    assert (row["other_customer"], row["other_customer_then"]) == (to_uuid(other), to_uuid(other))
    assert (row["identifier"], row["value"]) == (f"{one.hex()[0]}***@e***.org", f"{one.hex()}@example.org")
    assert (row["reason"], row["kind"], row["other_kind"]) == ("limit", "email", "email")


def test_evidence_counts_the_touchpoints_that_named_two_identifiers(name: str) -> None:
    one, other, third = sorted((uuid4().bytes for _ in range(3)), key=lambda node: node[8:])  # as ClickHouse sorts a UUID
    sets = [[one, other], [other, one], [one, other, third], [third]]
    touched = [resolved(system=name, customer_id=one, nodes=nodes, occurred_at=NOW + at) for at, nodes in enumerate(sets)]
    feed([*touched, touched[0]])
    kinds = {one: "email", other: "phone", third: "loyalty"}
    publish("touchline.identity", "evidence", [
        {"evidence_id": uuid4().bytes, "identifier_ids": nodes, "kinds": [kinds[node] for node in nodes], "rule": f"rule-{at}",
         "confidence": 0.5 + at / 10, "verified": True, "event_id": touched[at]["event_id"], "at": NOW}
        for at, nodes in ((0, sets[0]), (2, sets[2]))
    ])  # fmt: skip
    store("evidence")
    ids = [to_uuid(each["event_id"]) for each in touched]
    parameters = {"customer": str(to_uuid(one))}
    found = ask("SELECT * FROM touchline.identity_evidence_of(customer_id = {customer:UUID}) ORDER BY ALL", parameters)
    assert found == ask("SELECT * FROM touchline.identity_evidence WHERE customer_id = {customer:UUID} ORDER BY ALL", parameters)
    pairs = {(row["kind"], row["other_kind"]): row for row in found}
    assert set(pairs) == {("email", "phone"), ("email", "loyalty"), ("phone", "loyalty")}
    row = pairs["email", "phone"]
    assert (row["touchpoints"], row["first_event_id"], row["last_event_id"]) == (3, ids[0], ids[2])
    assert (row["rule"], row["confidence"], row["is_verified"]) == ("rule-2", 0.7, 1)
    assert pairs["email", "loyalty"]["touchpoints"] == 1


def test_erased_identifiers_hide_their_customers_at_once(name: str) -> None:
    """An unknown owner, as zeros, hides no one."""
    former, current, other = (uuid4().bytes for _ in range(3))
    feed([resolved(system=name, customer_id=each, nodes=[each]) for each in (former, current, other)])
    publish("touchline.identity", "route", [route(former, current)])
    publish("touchline.identity", "member", [member(each, current) for each in (former, current)])
    kept = decision("split", [other], [uuid4().bytes])
    gone, erase = decision("split", [other], [former]), decision("erase", [former, current])
    publish("touchline.identity", "decision", [kept, gone, erase])
    store("routes", "members", "decisions")
    made = f"SELECT decision_id FROM touchline.identity_decisions WHERE left_ids[1] IN ('{to_uuid(other)}', '{to_uuid(former)}')"
    changed = f"SELECT event_id FROM touchline.identity_changes WHERE from_customer = '{to_uuid(bytes(16))}'"
    ids = {name: to_uuid(each["decision_id"]) for name, each in (("kept", kept), ("gone", gone), ("erase", erase))}
    assert {row["decision_id"] for row in ask(made)} == set(ids.values())
    assert {ids["kept"], ids["gone"]} <= {row["event_id"] for row in ask(changed)}
    client = ClickHouse()
    try:
        columns = ("identifier_id", "customer_id", "reason", "who")
        owners = {former: current, current: current, uuid4().bytes: bytes(16)}
        rows: list[list[Any]] = [[*owners], [*owners.values()], ["request"] * 3, ["ann"] * 3]
        client.insert("touchline_store.erasures", columns, rows, uuid4().hex)
    finally:
        client.close()
    found = ask(f"SELECT customer_id FROM touchline.touchpoints WHERE system = '{name}'")
    assert [row["customer_id"] for row in found] == [to_uuid(other)]
    identifiers = "SELECT * FROM touchline.identifiers WHERE customer_id = {customer:UUID}"
    assert ask(identifiers, {"customer": str(to_uuid(current))}) == []
    assert {row["decision_id"] for row in ask(made)} == {ids["kept"], ids["erase"]}
    shown = {row["event_id"] for row in ask(changed)}
    assert (ids["kept"] in shown, ids["gone"] in shown) == (True, False)


def test_retracted_row_stays_hidden_when_an_older_version_arrives_again() -> None:
    customer = uuid4()
    kept, gone = (reading(customer_id=customer.bytes) for _ in range(2))
    travel = journey(customer_id=customer.bytes)
    for version, deleted in ((1, False), (2, True), (1, False)):
        publish("touchline.satisfaction", "reading", [kept, {**gone, "version": version, "deleted": deleted}])
        publish("touchline.journeys", "journey", [{**travel, "version": version, "deleted": deleted}])
        store("satisfaction", "journeys")
    params = {"customer": str(customer)}
    assert ask("SELECT reading_id FROM touchline.satisfaction WHERE customer_id = {customer:UUID}", params) == [
        {"reading_id": to_uuid(kept["reading_id"])}
    ]
    assert ask("SELECT * FROM touchline.journeys WHERE customer_id = {customer:UUID}", params) == []


def test_customers_show_the_latest_of_each_signal_and_the_value_of_their_orders(name: str) -> None:
    customer = uuid4()
    common: dict[str, Any] = {"customer_id": customer.bytes, "system": name, "currency": "EUR"}
    feed(
        [
            resolved(**common, occurred_at=NOW, amount=1_000_000, attributes={"segment": "home"}, channel="store"),
            resolved(**common, occurred_at=NOW + DAY, amount=2_505_000, attributes={"segment": "business"}),
            resolved(**common, occurred_at=NOW + 2 * DAY, amount=500_000, type="return.received", attributes={"segment": ""}),
            resolved(**common, occurred_at=NOW + 3 * DAY, amount=7, type="invoice.issued"),
        ]
    )
    history = [
        reading(customer_id=customer.bytes, at=NOW + at * DAY, value=value) for at, value in ((2, None), (1, 80.0), (0, 20.0))
    ]
    publish("touchline.satisfaction", "reading", history)
    publish("touchline.churn", "reading", [reading(customer_id=customer.bytes, signal="churn", value=0.125)])
    publish(
        "touchline.journeys", "journey", [journey(customer_id=customer.bytes, status=status) for status in ("open", "closed")]
    )
    store("satisfaction", "churn", "journeys")
    (found,) = ask("SELECT * FROM touchline.customers WHERE customer_id = {customer:UUID}", {"customer": str(customer)})
    assert found == {
        "customer_id": customer,
        "first_seen": datetime.fromtimestamp(NOW / 1000, UTC),
        "last_seen": datetime.fromtimestamp((NOW + 3 * DAY) / 1000, UTC),
        "touchpoints": 4,
        "channels": ["store", "web"],
        "systems": [name],
        "segment": "business",
        "satisfaction": None,
        "churn_risk": 0.125,
        "open_journeys": 1,
        "lifetime_value": Decimal("300.5"),
        "currencies": ["EUR"],
    }


def test_kpis_equal_plain_python(name: str) -> None:
    dice = random.Random(20261121)
    scales = {
        "nps": [(0, 10)],
        "csat": [(0, 1), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 10), (1, 9)],
        "ces": [(1, 7), (1, 5)],
    }
    asked = []
    for _ in range(900):
        metric = dice.choice(sorted(scales))
        low, high = dice.choice(scales[metric])
        offered = dice.random() < 0.4
        asked.append(
            survey(
                system=name,
                occurred_at=1_041_379_200_000 + dice.randrange(3) * DAY + dice.randrange(DAY),
                channel=dice.choice(["web", "email", "phone"]),
                stage=dice.choice(["use", "support"]),
                type="survey.offered" if offered else "survey.answered",
                metric=metric,
                scale_low=low,
                scale_high=high,
                answer=None if offered else float(dice.randint(low, high)),
                attributes={"segment": dice.choice(["home", "business"])},
            )
        )
    feed(asked)
    feed(asked[: len(asked) // 2])
    found = ask("SELECT * FROM touchline.kpis WHERE day BETWEEN '2003-01-01' AND '2003-01-03'")
    expected = {key: by_the_book(records) for key, records in groups(asked).items()}
    assert {(row["day"].isoformat(), row["metric"], row["dimension"], row["value_of_dimension"]) for row in found} == set(
        expected
    )
    for row in found:
        book = expected[row["day"].isoformat(), row["metric"], row["dimension"], row["value_of_dimension"]]
        assert {column: row[column] for column in book} == pytest.approx(book, rel=1e-7, abs=1e-9, nan_ok=False), row
        assert row["definition_version"] == f"{row['metric']}-1"


def groups(asked: list[Fields]) -> dict[tuple[str, str, str, str], list[Fields]]:
    found: dict[tuple[str, str, str, str], list[Fields]] = {}
    for record in asked:
        day = datetime.fromtimestamp(record["occurred_at"] / 1000, UTC).date().isoformat()
        for dimension in ("all", "channel", "stage", "system", "segment"):
            value = {"all": "", "segment": record["attributes"]["segment"]}.get(dimension) or record.get(dimension, "")
            found.setdefault((day, record["metric"], dimension, value), []).append(record)
    return found


def by_the_book(records: list[Fields]) -> dict[str, Any]:
    """Compute the survey scores in plain Python."""
    metric = records[0]["metric"]
    scored = [record for record in records if record["answer"] is not None and is_scored(record)]
    metric_of = {"nps": lambda record: record["answer"] >= 9}.get(metric, lambda record: record["answer"] > bottom(record))
    counts = {
        "n": len(scored),
        "favourable": sum(map(metric_of, scored)),
        "unfavourable": sum(record["answer"] <= 6 for record in scored) if metric == "nps" else 0,
        "offered": sum(record["type"] == "survey.offered" for record in records),
        "answered": sum(record["answer"] is not None for record in records),
    }
    if not scored:
        return {**dict.fromkeys(("value", "low", "high", "mean", "mean_low", "mean_high")), **counts}
    n, mean = len(scored), None
    bounds: tuple[float | None, float | None] = (None, None)
    if metric == "nps":
        p = sum(record["answer"] >= 9 for record in scored) / n
        d = sum(record["answer"] <= 6 for record in scored) / n
        half = Z * math.sqrt(100**2 * (p + d - (p - d) ** 2) / n)
        value, low, high = 100 * (p - d), max(100 * (p - d) - half, -100), min(100 * (p - d) + half, 100)
    else:
        share = sum(record["answer"] > bottom(record) for record in scored) / n
        centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        value, low, high = 100 * share, 100 * max(centre - half, 0), 100 * min(centre + half, 1)
    if metric == "ces":
        mean, bounds = fmean(record["answer"] for record in scored), interval([record["answer"] for record in scored])
    cut = [each if each is None else min(max(each, 1), 7) for each in bounds]
    return {"value": value, "low": low, "high": high, "mean": mean, "mean_low": cut[0], "mean_high": cut[1], **counts}


def is_scored(record: Fields) -> bool:
    scale = (record["scale_low"], record["scale_high"])
    return {"nps": scale == (0, 10), "ces": scale == (1, 7), "csat": scale[1] - scale[0] + 1 in TOP}[record["metric"]]


def bottom(record: Fields) -> float:
    """Return the highest answer that is not favourable."""
    if record["metric"] == "ces":
        return 4
    return float(record["scale_high"] - TOP[record["scale_high"] - record["scale_low"] + 1])


def test_the_interval_of_nps_is_the_published_one() -> None:
    """The published half width is 16 for n=100, p=.45 and d=.25."""
    day = "2004-02-02"
    answers = [9.0] * 45 + [3.0] * 25 + [7.0] * 30
    at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    common: dict[str, Any] = {"metric": "nps", "scale_low": 0, "scale_high": 10, "occurred_at": at}
    feed([survey(**common, answer=answer) for answer in answers])
    (row,) = ask(f"SELECT value, low, high FROM touchline.kpis WHERE day = '{day}' AND dimension = 'all'")
    assert row["value"] == pytest.approx(20)
    assert row["high"] - row["value"] == pytest.approx(16, abs=0.3)


def test_pain_points_are_means_with_their_interval() -> None:
    stage = f"stage-{uuid4().hex[:8]}"
    changes = {"shipment.delayed": [-5.0, -10.0, -15.0], "delivery.completed": [4.0], "page.viewed": []}
    touched = [resolved(stage=stage, type=kind, customer_id=uuid4().bytes) for kind in changes for _ in range(4)]
    feed(touched)
    readings = [
        reading(customer_id=record["customer_id"], event_id=record["event_id"], numbers={"change": change})
        for kind in changes
        for record, change in zip([one for one in touched if one["type"] == kind], changes[kind], strict=False)
    ]
    unrelated = reading(event_id=touched[-1]["event_id"], numbers={"other": 1.0})
    publish("touchline.satisfaction", "reading", [*readings, *readings, unrelated])
    store("satisfaction")
    found = {row["type"]: row for row in ask(f"SELECT * FROM touchline.pain_points WHERE stage = '{stage}'")}
    half = 4.302653 * 5 / math.sqrt(3)  # Student's t of two degrees of freedom
    worst = found["shipment.delayed"]
    assert (worst["customers"], worst["touchpoints"], worst["n"]) == (4, 4, 3)
    assert [worst["satisfaction_change"], worst["low"], worst["high"]] == pytest.approx([-10, -10 - half, -10 + half], rel=1e-5)
    once, never = found["delivery.completed"], found["page.viewed"]
    assert [once["satisfaction_change"], once["low"], once["high"], once["n"]] == [4.0, None, None, 1]
    assert [never["satisfaction_change"], never["low"], never["high"], never["n"]] == [None, None, None, 0]


def test_freshness_counts_records_that_are_not_stored(name: str) -> None:
    state = {**STATE, "connector": name, "read": 10, "published": 7, "dead_lettered": 2, "repeated": 1}
    publish("touchline.connector-state", "connector_state", [{**state, "read": 3, "published": 3, "repeated": 0}, state])
    publish("touchline.connector-state", "connector_state", [{**state, "stream": "empty", "last_event_at": None} | dict.fromkeys(
        ("read", "published", "dead_lettered", "repeated"), 0)])  # fmt: skip
    nothing = dict.fromkeys(("read", "published", "dead_lettered", "repeated"), 0)
    later = {**state, **nothing, "stream": "backfill/orders", "last_success_at": NOW + 3_600_000}
    publish("touchline.connector-state", "connector_state", [later | {"backfill_difference": -3}])
    publish("touchline.connector-state", "connector_state", [later | {"stream": "backfill/parties", "backfill_difference": 2}])
    touched = [resolved(connector=name) for _ in range(7)]
    publish("touchline.resolved", "resolved", [*touched[:6], *touched[:3]])
    store("touchpoints", "connector_state")
    assert difference(name) == 1
    publish("touchline.resolved", "resolved", touched[6:])
    store("touchpoints")
    assert difference(name) == 0
    (row,) = ask(f"SELECT * FROM touchline.freshness WHERE connector = '{name}'")
    assert (row["read"], row["stored"], row["events_24h"], row["backfill_difference"]) == (10, 7, 0, 2)
    assert row["last_event_at"] == row["last_success_at"] == datetime.fromtimestamp(NOW / 1000, UTC)
    assert row["lag_seconds"] == pytest.approx(datetime.now(UTC).timestamp() - NOW / 1000, abs=60)


def difference(connector: str) -> int:
    found: int = ask_value(f"SELECT reconciliation_difference FROM touchline.freshness WHERE connector = '{connector}'")
    return found


def test_steps_of_one_millisecond_belong_to_the_journey_of_the_join() -> None:
    """Some systems know only the day: an event on the day of a cancellation may precede it or start the next journey."""
    customers = []
    for number in range(8):
        common = {"identifiers": [{"kind": "email", "value": f"{uuid4().hex}@example.org"}], "occurred_at": NOW, "source": "crm"}
        types = ("inquiry.received", "contract.cancelled", "call.logged")
        touched = [resolved(**common, system="sim-crm", type=kind, event_id=uuid4().bytes) for kind in types]
        chain = Chain(number)
        for each in touched:
            chain.feed({name: value for name, value in each.items() if name not in ("customer_id", "stage")})
        chain.run()
        for (topic, _), log in chain.topics.items():
            if topic in ("touchline.resolved", "touchline.journeys"):
                send(topic, [(b"k", value) for value in log])
        customers.append((chain.values("touchline.resolved")[0]["customer_id"], touched))
    store("touchpoints", "journeys")
    steps = "SELECT type, step FROM touchline.journey_steps WHERE customer_id = {customer:UUID}"
    for customer, touched in customers:
        order = [each["type"] for each in sorted(touched, key=lambda each: each["event_id"])]
        before = order.index("contract.cancelled") + 1
        expected = {kind: at + 1 if at < before else at + 1 - before for at, kind in enumerate(order)}
        found = ask(steps, {"customer": str(to_uuid(customer))})
        assert {row["type"]: row["step"] for row in found} == expected


def test_refreshes_list_every_rebuilt_table_with_its_last_error() -> None:
    rebuilt = re.findall(
        r"^REFRESH .* TO touchline_store\.(\w+)$", "\n".join(each.sql for each in load_migrations()), re.MULTILINE
    )
    refresh()
    reported = {row["table"]: row for row in ask("SELECT * FROM touchline.refreshes")}
    assert reported.keys() == set(rebuilt)
    assert len(reported) == len(REFRESHED)
    assert all(row["made_at"] and row["age_seconds"] < 60 and not row["error"] for row in reported.values())
