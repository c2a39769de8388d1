"""Parsing of the identifier that `touchline explain` and `touchline identity show` take."""

from io import StringIO
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.explain.customer import (
    Candidate,
    CustomerHistory,
    Driver,
    Edge,
    Identity,
    Journey,
    Lookup,
    Merge,
    Reading,
    TimelineEntry,
    parse_lookup,
    to_json,
)
from deploy.explain.output import show_history
from schemas.errors import ConfigError
from schemas.records.fields import instant
from schemas.records.identifiers import GLOBAL_KINDS, normalise


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Ann@Example.com", "email", "ann@example.com"),
        ("email: Ann@Example.com ", "email", "ann@example.com"),
        ("0049 (151) 234-567", "phone", "+49151234567"),
        ("phone:+49151234567", "phone", "+49151234567"),
        ("A-1234567", None, "A-1234567"),
        ("loyalty:77", "loyalty", "77"),
        ("crm_contact:sim-crm/0035:x", "crm_contact", "sim-crm/0035:x"),
    ],
)
def test_identifier_is_normalised_as_connectors_do(text: str, kind: str | None, value: str) -> None:
    assert parse_lookup(text).candidates[0] == Candidate(kind, value)


@pytest.mark.parametrize("text", ["ann@social.example", "0010000012", "did:plc:abc"])
def test_bare_text_may_also_be_identifier_of_any_system(text: str) -> None:
    candidates = parse_lookup(text).candidates
    assert len(candidates) == 2
    assert candidates[-1] == Candidate(None, text)


@pytest.mark.parametrize("text", ["email:ann@example.com", "phone:+49151234567", "loyalty:77"])
def test_kind_with_values_of_its_own_has_one_meaning(text: str) -> None:
    assert len(parse_lookup(text).candidates) == 1


def test_customer_id_is_recognised() -> None:
    customer = uuid4()
    assert parse_lookup(str(customer)) == parse_lookup(str(customer).upper()) == Lookup(customer)


@pytest.mark.parametrize("text", ["", "-", "email:", "email:ann", "phone:12", "unknown"])
def test_text_that_names_no_customer_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="this is no identifier: give a customer id, an e-mail address, a phone number"):
        parse_lookup(text)


@given(st.sampled_from(sorted(GLOBAL_KINDS)), st.text(max_size=40))
def test_published_identifier_is_found_by_kind_and_value(kind: str, value: str) -> None:
    stored = normalise(kind, value)
    if stored is not None:
        expected = Lookup(None, (Candidate(kind, stored),))
        assert parse_lookup(f"{kind}:{value}") == parse_lookup(f"{kind}:{stored}") == expected


def test_json_has_plain_types() -> None:
    found = to_json(Edge("email", "a@example.com", UUID(int=1), "exact", UUID(int=2), instant(0)))
    assert found == {
        "kind": "email", "value": "a@example.com", "customer_id": str(UUID(int=1)), "rule": "exact",
        "event_id": str(UUID(int=2)), "at": "1970-01-01T00:00:00+00:00",
    }  # fmt: skip


def test_history_fits_80_columns_and_cuts_nothing() -> None:
    event, customer, at = uuid4(), uuid4(), instant(1_790_000_000_000)
    entry = TimelineEntry(
        event, at, customer, "inventory", "sim-warehouse", "installation.scheduled", "technician", "onboarding", "late again",
        "RTR-BE7200", 1_234_567.5, "USD", "nps", 2.0, 6.0, 40.5, -21.5,
    )  # fmt: skip
    stages = ["consideration", "purchase", "onboarding", "support", "use", "renewal"]
    history = CustomerHistory(
        Identity(
            customer,
            [Edge("social_handle", "sim-mastodon/ann_adler1@social.example", uuid4(), "exact-identifier", event, at)],
            [Merge(uuid4(), customer, "exact-identifier", event, at)],
        ),
        at, 1, [entry],
        [Journey(uuid4(), "v1", "completed", "renewed", "use", at, at, 1_000, 100, ["web"], stages, has_later_touchpoints=True)],
        [Reading("churn", at, 0.31, 0.2, 0.45, 4, "churn-1", event, [Driver(event, 0.12, "complaint without an answer")])],
    )  # fmt: skip
    out = StringIO()
    show_history(Console(width=80, file=out), history)
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    words = set(shown.replace(",", " ").replace(":", " ").split())
    assert words >= {str(event), str(event)[:8], "installation.scheduled", "technician", "sim-warehouse", "RTR-BE7200", "-21.5"}
    assert words >= {"1", "234", "567.50", "+12.0", "000", "consideration", "completed"}
