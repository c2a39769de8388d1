"""The compile_writer writers write what fastavro writes, of every released schema and any value; what does not fit is refused."""

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
@settings(max_examples=30)  # of each of the schemas
@given(data=st.data())
def test_a_record_is_written_as_fastavro_writes_it(schema_id: int, data: st.DataObject) -> None:
    fields = data.draw(values(registry.load_schema(schema_id)))
    assert compile_writer(registry.load_schema(schema_id), b"head")(fields) == b"head" + written(schema_id, fields)


@SCHEMA
@settings(max_examples=30)  # of each of the schemas
@given(data=st.data())
def test_what_has_a_default_may_be_missing(schema_id: int, data: st.DataObject) -> None:
    schema = registry.load_schema(schema_id)
    fields = data.draw(values(schema))
    optional = [field["name"] for field in schema["fields"] if "default" in field]
    for name in data.draw(st.sets(st.sampled_from(optional))) if optional else ():
        del fields[name]
    assert compile_writer(schema)(fields) == written(schema_id, fields)


@given(number=LONG)
def test_every_number_of_64_bits_is_read_as_it_was_written(number: int) -> None:
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
def test_fields_that_do_not_fit_are_refused_without_showing_them(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^the fields do not fit schema {name}: \w+$"):
        encode(name, fields)


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            encode_long(number)


def test_a_schema_that_no_writer_knows_is_named() -> None:
    with pytest.raises(KeyError, match="enum"):
        compile_writer({"type": "enum", "name": "Suit", "symbols": ["HEARTS"]})
