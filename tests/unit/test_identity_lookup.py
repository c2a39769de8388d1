"""Parsing of the identifier that `touchline explain` and `touchline identity` take."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.identity.lookup import Candidate, Lookup, parse_lookup
from schemas.errors import ConfigError
from schemas.records.identifiers import GLOBAL_KINDS
from schemas.records.normalisation.refusal import RefusedError
from schemas.records.normalisation.rules import normalise


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
    try:
        stored = normalise(kind, value)
    except RefusedError:
        return
    assert parse_lookup(f"{kind}:{value}") == Lookup(None, tuple(Candidate(kind, each.value) for each in stored))
    for each in stored:
        assert parse_lookup(f"{kind}:{each.value}") == Lookup(None, (Candidate(kind, each.value),))
