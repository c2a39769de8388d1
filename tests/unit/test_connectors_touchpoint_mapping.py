"""Touchpoint mapping: results of expressions, errors that `--check` finds, and errors without values of the record."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.errors import MissingIdentifierError
from connectors.mapping.expressions import compile_expression, evaluate
from connectors.mapping.functions import html_text, number
from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.mapping.touchpoint_mapping import ALL_RULES, TouchpointMapping
from schemas.errors import ConfigError, RecordError
from schemas.records.normalisation.refusal import RefusedIdentifier
from schemas.records.normalisation.rules import RULES_VERSION
from schemas.records.touchpoint import Touchpoint, event_id

NOW = datetime(2026, 11, 21, tzinfo=UTC)
COLUMNS = frozenset({"at", "party", "mail", "total", "state", "items", "text"})
FIELDS: dict[str, Any] = {
    "type": 'lookup(state, `{"placed": "order.placed"}`)',
    "channel": "'web'",
    "occurred_at": "iso(at, 'UTC')",
    "identifiers": {"erp_party": "id(party)", "email": "email(mail)"},
    "amount": "number(total)",
    "order_id": "id(text)",
    "attributes": {"note": "text", "items": "items"},
}
DATA = {"at": "2026-01-01T12:00:00Z", "party": 7, "mail": "Ann@Example.com", "total": "12,5", "state": "placed"}


KEYLESS = IdentifierSettings(verified=False)


def mapping(settings: IdentifierSettings = ALL_RULES, **changes: Any) -> TouchpointMapping:
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not None}
    own: dict[str, Any] = {"connector": "c", "feed": "f", "where": "feeds.f.map", "system": "sap"}
    return TouchpointMapping(**own, source="erp", columns=COLUMNS, fields=fields, settings=settings)


def map_or_error(how: TouchpointMapping, data: dict[str, Any]) -> Touchpoint | RecordError:
    try:
        return how.create_touchpoint("k", "v", data, NOW, {})
    except RecordError as error:
        return error


def error_of(data: dict[str, Any], **changes: Any) -> RecordError:
    error = map_or_error(mapping(**changes), data)
    assert isinstance(error, RecordError)
    return error


def test_event_id_of_a_touchpoint_is_built_from_system_feed_key_and_version() -> None:
    found = mapping().create_touchpoint("k", "v", DATA, NOW, {"extra": 1.0})
    assert found.event_id == event_id("sap", "f:k", "v")
    assert [(one.kind, one.value) for one in found.identifiers] == [("erp_party", "sap/7"), ("email", "ann@example.com")]
    assert (found.type, found.channel, found.occurred_at) == ("order.placed", "web", datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert (found.model_dump()["amount"], found.attributes) == (125_000, {"extra": "1"})


@pytest.mark.parametrize(
    ("expression", "data", "expected"),
    [
        ("iso(at, 'Europe/Berlin')", {"at": "2026-07-01T12:00:00"}, datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("iso(at, 'Europe/Berlin')", {"at": "2026-07-01T12:00:00+00:00"}, datetime(2026, 7, 1, 12, tzinfo=UTC)),
        ("date(at, '%d.%m.%Y', 'UTC')", {"at": " 03.02.2026 "}, datetime(2026, 2, 3, tzinfo=UTC)),
        ("epoch_ms(at)", {"at": 1_767_225_600_000}, datetime(2026, 1, 1, tzinfo=UTC)),
        ("epoch_ms(at)", {"at": "1767225600000"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ("email(mail)", {"mail": " A@B.example "}, "a@b.example"),
        ("email(mail)", {"mail": "nobody"}, None),
        ("id(party)", {"party": 42.0}, "42"),
        ("id(party)", {"party": True}, "true"),
        ("id(party)", {"party": "  "}, None),
        ('lookup(state, `{"1": "one", "*": "many"}`)', {"state": 1}, "one"),
        ('lookup(state, `{"1": "one", "*": "many"}`)', {"state": 3}, "many"),
        ("number(total)", {"total": "-1234.50"}, Decimal("-1234.50")),
        ("number(total)", {"total": "12,5"}, Decimal("12.5")),
        ("number(total)", {"total": 0.1}, Decimal("0.1")),
        ("html_text(text)", {"text": "<p>a&amp;b<br/>c</p><script>x<y</script>"}, "a&b c"),
        ('lookup(items[0].kind, `{"a": 1}`) || number(total)', {"items": [{"kind": "a"}]}, 1),
        ("join('-', [id(party), state])", {"party": 7, "state": "x"}, "7-x"),
    ],
)
def test_expression_returns_the_expected_value(expression: str, data: dict[str, Any], expected: object) -> None:
    assert evaluate(compile_expression(expression, COLUMNS, "here"), data, "field") == expected


@pytest.mark.parametrize(
    "call",
    [
        "iso(at, 'UTC')",
        "date(at, '%Y', 'UTC')",
        "epoch_ms(at)",
        "email(at)",
        "id(at)",
        "number(at)",
        "html_text(at)",
        "lookup(at, `{}`)",
    ],
)
def test_every_function_returns_null_for_null(call: str) -> None:
    assert evaluate(compile_expression(call, COLUMNS, "here"), {}, "field") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"type": "lookup(state"},
            "feeds.f.map.type: not a JMESPath expression: Invalid jmespath expression: Incomplete expression: lookup(state ",
        ),
        ({"type": "find(state, `{}`)"}, "there is no function find()"),
        ({"type": "lookup(state, 'x')"}, "lookup() expects a JSON object"),
        ({"type": "join('.', [lookup(state, `1`)])"}, "lookup() expects a JSON object"),
        ({"occurred_at": "iso(at)"}, "iso() takes 2 arguments, not 1"),
        ({"occurred_at": "iso(at, 'Mars/Olympus')"}, "the time zone is unknown"),
        ({"occurred_at": "iso(at, `[]`)"}, "the time zone is unknown"),
        ({"amount": "number(totall)"}, "reads column totall, which `columns` does not list"),
        ({"identifiers": {"email": "email(maill)"}}, "feeds.f.map.identifiers.email: reads column maill"),
        ({"price": "number(total)"}, "erp has no field price"),
        ({"event_id": "id(party)"}, "erp has no field event_id"),
        ({"occurred_at": None}, "erp also needs occurred_at"),
        ({"identifiers": "id(party)"}, "must be a mapping of names to expressions"),
        ({"traits": "id(party)"}, "must be a mapping of names to expressions"),
        ({"traits": {"Given Name": "id(party)"}}, "feeds.f.map.traits.Given Name: a name holds the letters a to z"),
        ({"identifiers": {"Email": "email(mail)"}}, "feeds.f.map.identifiers.Email: a name holds the letters a to z"),
        ({"verified": "`true`"}, "erp has no field verified"),
        ({"amount": {"a": "id(party)"}}, "must be one expression"),
    ],
)
def test_wrong_mapping_is_an_error_before_the_first_record(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapping(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({"at": None}, "missing_field", "occurred_at is required"),
        ({"at": "1969-12-31"}, "absurd_date", "occurred_at"),
        ({"at": "2026-11-23"}, "absurd_date", "occurred_at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "absurd_date", "occurred_at"),
        ({"at": 5}, "wrong_type", "occurred_at"),
        ({"total": "1,234"}, "wrong_type", "thousands separator"),
        ({"total": "NaN"}, "wrong_type", "digits"),
        ({"party": None, "mail": "n/a"}, "missing_identifier", "erp_party, email"),
        ({"party": "ab" * 150, "mail": None}, "missing_identifier", "refused: erp_party (too_long)"),
        ({"party": "guest", "mail": "x"}, "missing_identifier", "refused: erp_party (placeholder)"),
        ({"text": "x" * 5_000}, "too_long", "200"),
        ({"text": "half \ud83d"}, "invalid_utf8", "order_id"),
        ({"items": ["x" * 5_000]}, "too_long", "attributes.items"),
        ({"state": "lost"}, "unknown_value", "lookup"),
    ],
)
def test_invalid_record_is_rejected_with_reason_and_field(data: dict[str, Any], reason: str, words: str) -> None:
    error = error_of({**DATA, **data})
    assert error.reason == reason
    assert words in error.detail


def test_refused_identifier_does_not_lose_the_record() -> None:
    found = map_or_error(mapping(), {**DATA, "party": "4.91512E+12"})
    assert isinstance(found, Touchpoint)
    assert [(one.kind, one.value, one.raw, one.rules) for one in found.identifiers] == [
        ("email", "ann@example.com", None, RULES_VERSION)
    ]
    assert found.refused == (RefusedIdentifier("erp_party", "exponent"),)
    assert "refused" not in found.model_dump()


def test_detail_of_missing_identifier_names_kinds_and_reasons_never_values() -> None:
    error = error_of({**DATA, "party": "[object Object]", "mail": "no-reply@shop.example"})
    assert isinstance(error, MissingIdentifierError)
    refused = "refused: erp_party (placeholder), email (placeholder)"
    assert error.detail == f"none of erp_party, email holds a value that identifies a customer; {refused}"
    assert error.refused == (RefusedIdentifier("erp_party", "placeholder"), RefusedIdentifier("email", "placeholder"))


def test_traits_and_verified_travel_with_the_touchpoint() -> None:
    how = mapping(traits={"given_name": "text", "postcode": "id(party)", "surname": "state"}, settings=KEYLESS)
    found = map_or_error(how, {**DATA, "text": "  Ann ", "state": "placed"})
    assert isinstance(found, Touchpoint)
    assert (found.traits, found.verified) == ({"given_name": "Ann", "postcode": "7", "surname": "placed"}, False)
    bare = map_or_error(mapping(), DATA)
    assert isinstance(bare, Touchpoint)
    assert (bare.traits, bare.verified) == (None, None)


def test_long_trait_is_refused_and_keeps_the_record() -> None:
    found = map_or_error(mapping(traits={"surname": "text"}), {**DATA, "text": "x" * 201, "state": "placed"})
    assert isinstance(found, RecordError)  # the order id of this mapping is the same text
    found = map_or_error(mapping(traits={"surname": "text"}, order_id=None), {**DATA, "text": "x" * 201})
    assert isinstance(found, Touchpoint)
    assert (found.traits, found.refused) == (None, (RefusedIdentifier("surname", "too_long"),))


@pytest.mark.parametrize("value", [["Ann"], {"first": "Ann"}, "\ud800"])
def test_trait_without_text_is_refused_and_keeps_the_record(value: object) -> None:
    found = map_or_error(mapping(traits={"surname": "id(items)"}, attributes=None), {**DATA, "items": value})
    assert isinstance(found, Touchpoint)
    assert (found.traits, found.refused) == (None, (RefusedIdentifier("surname", "malformed"),))


def test_region_programme_and_placeholders_of_the_feed_apply() -> None:
    settings = IdentifierSettings(region="DE", programme="payback", placeholders=("walk-in*",))
    how = mapping(identifiers={"phone": "mail", "loyalty": "text", "erp_party": "state"}, type="'a.b'", settings=settings)
    found = map_or_error(how, {**DATA, "mail": "0151 1234567", "text": "1234 5678", "state": "Walk-In 7"})
    assert isinstance(found, Touchpoint)
    assert [(one.value, one.raw) for one in found.identifiers] == [
        ("+491511234567", "0151 1234567"),
        ("payback/12345678", "1234 5678"),
    ]
    assert found.refused == (RefusedIdentifier("erp_party", "placeholder"),)


@pytest.mark.parametrize("region", ["de", "XX", "GERMANY", ""])
def test_unknown_region_is_refused(region: str) -> None:
    with pytest.raises(ValidationError, match="must be a country of two capital letters"):
        IdentifierSettings(region=region)


def test_norway_survives_yaml() -> None:
    assert IdentifierSettings.model_validate(yaml.safe_load("region: NO")).region == "NO"


def test_failing_expression_rejects_the_record() -> None:
    error = error_of({**DATA, "items": [1, 2]}, product="items[::0]")
    assert (error.reason, error.detail) == ("bad_mapping", "field product: ValueError in its expression")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, VALUES)))
def test_any_record_becomes_a_touchpoint_or_an_error(data: dict[str, Any]) -> None:
    fields = {**FIELDS, "type": "state", "product": "join('-', items)", "invoice_id": "items[0].text", "text": "html_text(text)"}
    found = map_or_error(mapping(**fields), data)
    assert found.reason.isidentifier() if isinstance(found, RecordError) else found.identifiers


@given(
    st.sampled_from(sorted(COLUMNS)), st.sampled_from(["type", "channel", "amount", "order_id", "product", "currency", "text"])
)
def test_error_never_contains_a_value(column: str, field: str) -> None:
    secret = "Sécret-4711 " * 30
    for value in (secret, [secret], {"a": secret}):
        changes: dict[str, Any] = {field: column}
        found = map_or_error(mapping(**changes), {**DATA, column: value})
        assert "cret" not in (found.detail if isinstance(found, RecordError) else "")


@given(st.text("<>script/styl &;", max_size=300))
def test_html_text_never_fails(text: str) -> None:
    assert html_text(text) is not None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15), max_value=10**15))
def test_number_is_exact(value: Decimal) -> None:
    assert number(f"{value:f}") == value


def test_html_text_stays_fast_on_hostile_input() -> None:
    assert html_text("<" * 200_000) is not None
    assert html_text("<script>" * 30_000) is not None
