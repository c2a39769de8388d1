"""`touchline explain` and `touchline identity show` on one customer that the real sinks stored."""

import json
import os
import subprocess
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from deploy.local.state import Stack
from schemas.wire.codec import Fields
from tests.harness.sinks import ask, journey, publish, reading, resolved, store, to_uuid
from tests.harness.stack import TOUCHLINE

pytestmark = pytest.mark.integration
HOUR = 3_600_000
START = int(datetime(2026, 9, 1, 8, tzinfo=UTC).timestamp() * 1000)


class Ann(NamedTuple):
    """A customer with two former ids: one known by e-mail, one by phone, merged later."""

    customer_id: UUID
    former: UUID
    email: str
    phone: str
    events: list[UUID]


def iso(hours: int) -> str:
    return datetime.fromtimestamp((START + hours * HOUR) / 1000, UTC).isoformat()


@pytest.fixture(scope="module")
def ann(migrated: Stack) -> Ann:
    """Store an order at 0 h, a delay at 24 h, a complaint of another id at 50 h, a merge at 60 h and a survey at 100 h."""
    one, other = uuid4().bytes, uuid4().bytes
    mark = uuid4().hex[:8]
    email, phone = f"ann.{mark}@example.org", f"+49{int(mark, 16):010d}"
    crm = {"source": "support", "type": "ticket.opened", "stage": "support", "channel": "phone", "system": "sim-zendesk"}
    complaint = "The new router blinks red and no one calls back. 😞 [bold]Do something[/bold]\x1b[31m!"
    survey = {"source": "feedback", "survey_id": "s", "question_id": "q", "metric": "nps", "scale_low": 0, "scale_high": 10}
    touches = [
        resolved(customer_id=one, occurred_at=START, product="fibre-250", amount=399_900, currency="EUR", system="sim-sap"),
        resolved(
            customer_id=one, occurred_at=START + 24 * HOUR, source="inventory", type="shipment.delayed", stage="onboarding",
            channel="system", delay_days=6.0,
        ),
        resolved(customer_id=other, occurred_at=START + 50 * HOUR, text=complaint, **crm),
        resolved(
            customer_id=one, occurred_at=START + 100 * HOUR, type="survey.answered", stage="use", channel="email", answer=2.0,
            **survey,
        ),
    ]  # fmt: skip
    ids = [touch["event_id"] for touch in touches]
    publish("touchline.resolved", "resolved", touches)
    edges = [
        ("email", email, one, ids[0], 0),
        ("crm_contact", f"sim-crm/{mark}", one, ids[0], 0),
        ("phone", phone, other, ids[2], 50),
    ]
    publish("touchline.identity", "edge", [edge(*each) for each in edges])
    publish("touchline.identity", "merge", [
        {"from_customer": other, "to_customer": one, "rule": "exact-identifier", "event_id": ids[3], "at": START + 60 * HOUR}
    ])  # fmt: skip
    delay, answer = driver(ids[1], -8.0, "delayed by 6 days"), driver(ids[3], -21.5, "nps 2 of 10")
    readings = [
        reading(customer_id=one, event_id=ids[1], at=START + 24 * HOUR, value=62.0, numbers={"change": -8.0}, drivers=[delay]),
        reading(
            customer_id=one, event_id=ids[3], at=START + 100 * HOUR, value=40.5, numbers={"change": -21.5},
            drivers=[answer, delay], evidence=2, version=2,
        ),
    ]  # fmt: skip
    publish("touchline.satisfaction", "reading", readings)
    churn = reading(customer_id=one, signal="churn", definition="churn-1", at=START + 101 * HOUR, value=0.31, low=0.2, high=0.45,
                    evidence=4, drivers=[driver(ids[2], 0.12, "complaint without an answer")])  # fmt: skip
    publish("touchline.churn", "reading", [churn])
    publish("touchline.journeys", "journey", [
        journey(customer_id=one, started_at=START, last_at=START + 100 * HOUR, touchpoints=4, friction=2, stage="use",
                stages=["purchase", "onboarding", "support", "use"], channels=["web", "phone", "email"])
    ])  # fmt: skip
    store()
    return Ann(to_uuid(one), to_uuid(other), email, phone, [to_uuid(each) for each in ids])


def edge(kind: str, value: str, customer: bytes, event: bytes, hours: int) -> Fields:
    at = START + hours * HOUR
    return {"kind": kind, "value": value, "customer_id": customer, "rule": "exact-identifier", "event_id": event, "at": at}


def driver(event: bytes, contribution: float, text: str) -> Fields:
    return {"event_id": event, "contribution": contribution, "text": text}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "160"}
    return subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, timeout=60, check=False, env=wide)


def run_json(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_customer_is_found_by_each_identifier_and_id(ann: Ann) -> None:
    ways = [
        str(ann.customer_id), str(ann.former),
        ann.email, ann.email.upper(), f"email:{ann.email}", ann.phone, f"phone:{ann.phone}",
        f"crm_contact:sim-crm/{ann.email[4:12]}", f"crm_contact:{ann.email[4:12]}", ann.email[4:12],
    ]  # fmt: skip
    assert [run_json("identity", "show", way)["customer_id"] for way in ways] == [str(ann.customer_id)] * len(ways)


def test_timeline_and_scores_name_their_events(ann: Ann) -> None:
    history = run_json("explain", ann.email)
    assert [touch["event_id"] for touch in history["timeline"]] == list(map(str, ann.events))
    assert [touch["occurred_at"] for touch in history["timeline"]] == [iso(hours) for hours in (0, 24, 50, 100)]
    assert [touch["score"] for touch in history["timeline"]] == [None, 62.0, None, 40.5]
    assert [touch["change"] for touch in history["timeline"]] == [None, -8.0, None, -21.5]
    assert history["timeline"][2]["customer_id_then"] == str(ann.former)
    assert history["timeline"][0]["amount"] == 39.99
    churn, satisfaction = history["readings"]
    assert (churn["signal"], churn["value"], churn["drivers"][0]["event_id"]) == ("churn", 0.31, str(ann.events[2]))
    assert (satisfaction["value"], satisfaction["event_id"]) == (40.5, str(ann.events[3]))
    assert [(each["event_id"], each["contribution"]) for each in satisfaction["drivers"]] == [
        (str(ann.events[3]), -21.5),
        (str(ann.events[1]), -8.0),
    ]
    (journey,) = history["journeys"]
    assert (journey["touchpoints"], journey["stages"]) == (4, ["purchase", "onboarding", "support", "use"])


def test_identity_names_touchpoint_of_each_identifier_and_merge(ann: Ann) -> None:
    identity = run_json("identity", "show", ann.email)
    assert {(edge["kind"], edge["customer_id"], edge["event_id"]) for edge in identity["edges"]} == {
        ("email", str(ann.customer_id), str(ann.events[0])),
        ("crm_contact", str(ann.customer_id), str(ann.events[0])),
        ("phone", str(ann.former), str(ann.events[2])),
    }
    (merge,) = identity["merges"]
    assert (merge["from_customer"], merge["to_customer"]) == (str(ann.former), str(ann.customer_id))
    assert run_json("explain", ann.email)["identity"] == identity


def test_at_leaves_out_later_records(ann: Ann) -> None:
    history = run_json("explain", ann.email, "--at", "2026-09-03T12:00")
    assert [touch["event_id"] for touch in history["timeline"]] == list(map(str, ann.events[:3]))
    assert [(each["signal"], each["value"]) for each in history["readings"]] == [("satisfaction", 62.0)]
    assert (len(history["identity"]["edges"]), history["identity"]["merges"], len(history["journeys"])) == (3, [], 1)
    assert run_json("explain", ann.email, "--at", "2026-08-01")["timeline"] == []


def test_journey_with_touchpoints_after_at_is_marked(ann: Ann) -> None:
    mark = "current state: has later touchpoints"
    for at, is_later in [("2026-09-05T11:59:59", True), ("2026-09-05T12:00", False)]:
        assert [each["has_later_touchpoints"] for each in run_json("explain", ann.email, "--at", at)["journeys"]] == [is_later]
        assert (mark in run("explain", ann.email, "--at", at).stdout) == is_later
    assert not run_json("explain", ann.email)["journeys"][0]["has_later_touchpoints"]
    assert mark not in run("explain", ann.email).stdout


def test_limit_shows_newest_touchpoints_and_counts_the_others(ann: Ann) -> None:
    history = run_json("explain", ann.email, "--limit", "2")
    assert [touch["event_id"] for touch in history["timeline"]] == list(map(str, ann.events[2:]))
    assert history["touchpoints"] == 4
    assert "--limit hides 2 older ones" in run("explain", ann.email, "--limit", "2").stdout


def test_terminal_output_has_same_facts_and_no_control_characters(ann: Ann) -> None:
    screen = run("explain", ann.email).stdout
    for text in (
        str(ann.customer_id),
        ann.email,
        ann.phone,
        "shipment.delayed",
        "39.99 EUR",
        "satisfaction 40.5",
        "churn 31.0 %",
    ):
        assert text in screen
    assert [str(event)[:8] in screen for event in ann.events] == [True] * 4
    assert [str(event) in screen for event in ann.events] == [False, True, True, True]  # drivers are printed with their whole id
    assert "[bold]Do something[/bold]" in screen
    assert "\x1b" not in screen


@pytest.mark.parametrize(
    ("customer", "error"),
    [
        ("nobody@example.org", "no customer has this identifier"),
        ("email:nonsense", "this is no identifier"),
        ("-", "this is no identifier"),
        (str(UUID(int=1)), "no customer with an identifier has this id"),
    ],
)
def test_unknown_customer_ends_with_next_step(ann: Ann, customer: str, error: str) -> None:
    done = run("explain", "--", customer)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr


def test_reader_without_personal_data_needs_a_customer_id(ann: Ann, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_CLICKHOUSE_USER", "analyst")
    done = run("identity", "show", ann.email)
    assert (done.returncode, done.stdout) == (2, "")
    assert "grant it the role touchline_pii, or give a customer id" in done.stderr
    assert {edge["value"] for edge in run_json("identity", "show", str(ann.customer_id))["edges"]} == {"***"}
    assert {touch["text"] for touch in run_json("explain", str(ann.customer_id))["timeline"]} <= {"***", None}
    monkeypatch.setenv("TOUCHLINE_CLICKHOUSE_USER", "analyst_pii")
    assert ann.email in [edge["value"] for edge in run_json("identity", "show", ann.email)["edges"]]


def test_identifier_of_two_systems_must_be_qualified(ann: Ann) -> None:
    number = f"c-{uuid4().hex}"
    edges = [edge("crm_contact", f"{system}/{number}", uuid4().bytes, uuid4().bytes, 0) for system in ("sim-crm", "sim-other")]
    publish("touchline.identity", "edge", edges)
    store("identities")
    done = run("identity", "show", number)
    assert done.returncode == 2
    assert "more than one customer has this identifier: give kind:system/value" in done.stderr
    assert run_json("identity", "show", f"crm_contact:sim-crm/{number}")["customer_id"] == str(to_uuid(edges[0]["customer_id"]))


def test_erased_customer_is_not_found(migrated: Stack) -> None:
    """An erased customer, and a customer merged into it, are not found by identifier or id."""
    gone, part = uuid4().bytes, uuid4().bytes
    mark = uuid4().hex[:8]
    mails = [f"{name}.{mark}@example.org" for name in ("gone", "part")]
    event = uuid4().bytes
    publish("touchline.identity", "edge", [
        edge("email", mail, customer, event, 0) for mail, customer in zip(mails, (gone, part), strict=True)
    ])  # fmt: skip
    publish("touchline.identity", "merge", [
        {"from_customer": part, "to_customer": gone, "rule": "exact-identifier", "event_id": event, "at": START}
    ])  # fmt: skip
    store()
    assert [row["value"] for row in run_json("identity", "show", mails[1])["edges"]] == mails
    ask("INSERT INTO touchline_store.erasures (customer_id) SELECT UUIDStringToNum({id:String})", {"id": str(to_uuid(gone))})
    for customer in (*mails, str(to_uuid(gone)), str(to_uuid(part))):
        for command in (("explain",), ("identity", "show")):
            done = run(*command, customer)
            assert (done.returncode, done.stdout) == (2, ""), customer
