"""The compiled writers write the bytes of fastavro for every frozen schema and any value; unfit values are rejected."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.wire import registry
from schemas.wire.codec import decode, encode
from schemas.wire.writer import compile_writer, encode_long
from tests.harness.avro_values import LONG, SCHEMA, values, written

TICK = {"at": 5, "since": None}
EDGE = {"kind": "email", "value": "a@b.example", "customer_id": b"c" * 16, "rule": "r", "event_id": b"e" * 16, "at": 1}


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_writer_equals_fastavro(schema_id: int, data: st.DataObject) -> None:
    fields = data.draw(values(registry.load_schema(schema_id)))
    assert compile_writer(registry.load_schema(schema_id), b"head")(fields) == b"head" + written(schema_id, fields)


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_field_with_default_may_be_missing(schema_id: int, data: st.DataObject) -> None:
    schema = registry.load_schema(schema_id)
    fields = data.draw(values(schema))
    optional = [field["name"] for field in schema["fields"] if "default" in field]
    for name in data.draw(st.sets(st.sampled_from(optional))) if optional else ():
        del fields[name]
    assert compile_writer(schema)(fields) == written(schema_id, fields)


@given(number=LONG)
def test_64_bit_numbers_round_trip(number: int) -> None:
    fields = {"at": number, "since": number}
    assert decode(encode("tick", fields)) == ("tick", fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tick", {}),
        ("tick", TICK | {"until": 6}),
        ("tick", {"at": 5, "until": 6}),
        ("tick", {"at": None}),
        ("tick", {"at": "5"}),
        ("tick", {"at": 5.5}),
        ("tick", {"at": 2**63}),
        ("tick", {"at": -(2**63) - 1}),
        ("edge", EDGE | {"customer_id": b"c" * 15}),
        ("edge", EDGE | {"customer_id": "c" * 16}),
        ("edge", EDGE | {"value": b"a@b.example"}),
        ("edge", EDGE | {"value": "\ud800"}),
        ("edge", EDGE | {"value": None}),
    ],
)
def test_unfit_fields_are_rejected_and_hidden_in_the_error(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^the fields do not fit schema {name}: \w+$"):
        encode(name, fields)


def test_number_beyond_64_bits_is_rejected() -> None:
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            encode_long(number)


def test_unsupported_type_is_named() -> None:
    with pytest.raises(KeyError, match="enum"):
        compile_writer({"type": "enum", "name": "Suit", "symbols": ["HEARTS"]})
