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
from tests.harness.sinks import ask, journey, member, publish, reading, resolved, route, store, to_uuid
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
    one, other, contact = uuid4().bytes, uuid4().bytes, uuid4().bytes
    mark = uuid4().hex[:8]
    email, phone = f"ann.{mark}@example.org", f"+49151{int(mark, 16) % 10**8:08d}"
    crm = {"source": "support", "type": "ticket.opened", "stage": "support", "channel": "phone", "system": "sim-zendesk"}
    complaint = "The new router blinks red and no one calls back. 😞 [bold]Do something[/bold]\x1b[31m!"
    survey = {"source": "feedback", "survey_id": "s", "question_id": "q", "metric": "nps", "scale_low": 0, "scale_high": 10}
    touches = [
        resolved(
            customer_id=one, nodes=[contact, one], occurred_at=START, product="fibre-250", amount=399_900, currency="EUR",
            system="sim-sap",
        ),
        resolved(
            customer_id=one, occurred_at=START + 24 * HOUR, source="inventory", type="shipment.delayed", stage="onboarding",
            channel="system", delay_days=6.0,
        ),
        resolved(customer_id=other, nodes=[other], occurred_at=START + 50 * HOUR, text=complaint, **crm),
        resolved(
            customer_id=one, occurred_at=START + 100 * HOUR, type="survey.answered", stage="use", channel="email", answer=2.0,
            **survey,
        ),
    ]  # fmt: skip
    ids = [touch["event_id"] for touch in touches]
    publish("touchline.resolved", "resolved", touches)
    # The route of the former id and the members state the merge at 60 h. The first records of the members precede it.
    before = [named("phone", phone, other, other, ids[2], 50)]
    now = [
        named("email", email, one, one, ids[0], 0),
        named("crm_contact", f"sim-crm/{mark}", contact, one, ids[0], 0),
        named("phone", phone, other, one, ids[3], 60),
    ]
    publish("touchline.identity", "member", [*before, *now])
    publish("touchline.identity", "route", [{**route(other, one), **cause(ids[3], 60)}, {**route(one, one), **cause(ids[3], 60)}])
    publish("touchline.identity", "evidence", [
        {"evidence_id": uuid4().bytes, "identifier_ids": [contact, one], "kinds": ["crm_contact", "email"], "confidence": 1.0,
         "verified": True, **cause(ids[0], 0)}
    ])  # fmt: skip
    publish("touchline.identity", "decision", [
        {"decision_id": uuid4().bytes, "action": "join", "left": [one], "right": [other], "undoes": None,
         "reason": "one person", "who": "eve", "confidence": 1.0, "at": START + 70 * HOUR}
    ])  # fmt: skip
    publish("touchline.identity", "conflict", [
        {"conflict_id": uuid4().bytes, "reason": "shared_value", "identifier_id": one, "kind": "email", "value": email,
         "other_id": uuid4().bytes, "other_kind": "email", "other_value": "info@example.org", "customer_id": one,
         "other_customer": uuid4().bytes, "event_id": ids[0], "at": START + 80 * HOUR}
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


def cause(event: bytes, hours: int) -> Fields:
    return {"rule": "exact-identifier", "event_id": event, "at": START + hours * HOUR}


def named(kind: str, value: str, node: bytes, customer: bytes, event: bytes, hours: int) -> Fields:
    """Return the member record of an identifier."""
    return {**member(node, customer, kind=kind, value=value), **cause(event, hours)}


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


def test_identity_names_event_of_each_identifier_and_change(ann: Ann) -> None:
    identity = run_json("identity", "show", ann.email)
    assert {(each["kind"], each["customer_id"], each["event_id"]) for each in identity["identifiers"]} == {
        ("email", str(ann.customer_id), str(ann.events[0])),
        ("crm_contact", str(ann.customer_id), str(ann.events[0])),
        ("phone", str(ann.customer_id), str(ann.events[3])),
    }
    changes = [(each["change"], each["from_customer"], each["to_customer"]) for each in identity["changes"]]
    assert ("merge", str(ann.former), str(ann.customer_id)) in changes
    (pair,) = identity["evidence"]
    assert {pair["identifier"], pair["other"]} == {f"email:{ann.email}", f"crm_contact:sim-crm/{ann.email[4:12]}"}
    assert (pair["touchpoints"], pair["first_event_id"], pair["rule"]) == (1, str(ann.events[0]), "exact-identifier")
    (decision,) = identity["decisions"]
    assert (decision["action"], decision["who"], decision["reason"], decision["undone_by"]) == ("join", "eve", "one person", None)
    (conflict,) = identity["conflicts"]
    assert (conflict["reason"], conflict["other"]) == ("shared_value", "email:info@example.org")
    assert run_json("explain", ann.email)["identity"] == identity


def test_conflicts_are_listed_newest_first(ann: Ann) -> None:
    done = run("identity", "conflicts", "--limit", "1", "--json")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["reason"] == "shared_value"
    assert "the identifier is shared by too many people" in run("identity", "conflicts").stdout


def test_at_leaves_out_later_records(ann: Ann) -> None:
    history = run_json("explain", ann.email, "--at", "2026-09-03T12:00")
    assert [touch["event_id"] for touch in history["timeline"]] == list(map(str, ann.events[:3]))
    assert [(each["signal"], each["value"]) for each in history["readings"]] == [("satisfaction", 62.0)]
    identity = history["identity"]
    assert [each["kind"] for each in identity["identifiers"]] == ["crm_contact", "email"]
    assert (identity["changes"], identity["decisions"], identity["conflicts"]) == ([], [], [])
    assert (len(identity["evidence"]), len(history["journeys"])) == (1, 1)
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
        ("zoe.weber@example.org", "no customer has this identifier"),
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
    assert {each["value"] for each in run_json("identity", "show", str(ann.customer_id))["identifiers"]} == {"***"}
    assert {touch["text"] for touch in run_json("explain", str(ann.customer_id))["timeline"]} <= {"***", None}
    monkeypatch.setenv("TOUCHLINE_CLICKHOUSE_USER", "analyst_pii")
    assert ann.email in [each["value"] for each in run_json("identity", "show", ann.email)["identifiers"]]


def test_identifier_of_two_systems_must_be_qualified(ann: Ann) -> None:
    number = f"c-{uuid4().hex}"
    nodes = [uuid4().bytes, uuid4().bytes]
    systems = ("sim-crm", "sim-other")
    members = [
        named("crm_contact", f"{system}/{number}", node, node, uuid4().bytes, 0)
        for system, node in zip(systems, nodes, strict=True)
    ]
    publish("touchline.identity", "member", members)
    store("members")
    done = run("identity", "show", number)
    assert done.returncode == 2
    assert "more than one customer has this identifier: give kind:system/value" in done.stderr
    assert run_json("identity", "show", f"crm_contact:sim-crm/{number}")["customer_id"] == str(to_uuid(nodes[0]))


def test_erased_person_is_not_found(migrated: Stack) -> None:
    """An erased person is found by no identifier and no former id."""
    gone, part = uuid4().bytes, uuid4().bytes
    mark = uuid4().hex[:8]
    mails = [f"{each}.{mark}@example.org" for each in ("gone", "part")]
    event = uuid4().bytes
    publish("touchline.identity", "member", [
        named("email", mail, node, gone, event, 0) for mail, node in zip(mails, (gone, part), strict=True)
    ])  # fmt: skip
    publish("touchline.identity", "route", [{**route(part, gone), **cause(event, 0)}])
    store()
    assert sorted(row["value"] for row in run_json("identity", "show", mails[1])["identifiers"]) == mails
    for node in (gone, part):
        ask(
            "INSERT INTO touchline_store.erasures (customer_id, identifier_id)"
            " SELECT UUIDStringToNum({customer:String}), UUIDStringToNum({node:String})",
            {"customer": str(to_uuid(gone)), "node": str(to_uuid(node))},
        )
    for customer in (*mails, str(to_uuid(gone)), str(to_uuid(part))):
        for command in (("explain",), ("identity", "show")):
            done = run(*command, customer)
            assert (done.returncode, done.stdout) == (2, ""), customer
