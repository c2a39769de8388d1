"""What a person means by an identifier."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.explain.customer import Asked, asked, plain
from schemas.errors import ConfigError
from schemas.records.identifiers import GLOBAL_KINDS, normalise


@pytest.mark.parametrize(
    ("said", "kind", "value"),
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
def test_an_identifier_is_asked_for_in_its_one_spelling(said: str, kind: str | None, value: str) -> None:
    assert asked(said) == Asked(None, kind, value)


def test_a_customer_id_is_one() -> None:
    customer = uuid4()
    assert asked(str(customer)) == asked(str(customer).upper()) == Asked(customer, None, "")


@pytest.mark.parametrize("said", ["", "-", "email:", "email:ann", "phone:12", "unknown"])
def test_what_identifies_nobody_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match="that is no identifier: say a customer id, kind:value"):
        asked(said)


@given(st.sampled_from(sorted(GLOBAL_KINDS)), st.text(max_size=40))
def test_what_a_connector_publishes_is_found_by_kind_and_value(kind: str, value: str) -> None:
    stored = normalise(kind, value)
    if stored is not None:
        assert asked(f"{kind}:{value}") == asked(f"{kind}:{stored}") == Asked(None, kind, stored)


def test_what_is_told_to_programs_is_plain() -> None:
    told = plain(Asked(UUID(int=1), None, "a"))
    assert told == {"customer_id": "00000000-0000-0000-0000-000000000001", "kind": None, "value": "a"}
