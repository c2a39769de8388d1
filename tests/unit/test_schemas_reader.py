"""The compiled readers return what fastavro returns: for every released schema, any record, and any damaged bytes."""

import struct
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import RecordError
from schemas.wire import registry
from schemas.wire.codec import HEADER, decode, encode, make_field_decoder
from schemas.wire.reader import compile_reader
from tests.harness.avro_values import SCHEMA, values, written

BROKEN = (IndexError, EOFError, ValueError, struct.error)


def fastavro(schema_id: int, value: bytes) -> tuple[Any, int]:
    body = BytesIO(value)
    return schemaless_reader(body, registry.load_parsed_schema(schema_id), None), body.tell()


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_reader_equals_fastavro(schema_id: int, data: st.DataObject) -> None:
    fields = data.draw(values(registry.load_schema(schema_id)))
    value = written(schema_id, fields)
    assert registry.get_reader(schema_id)(value, 0) == (fields, len(value)) == fastavro(schema_id, value)
    assert registry.get_reader(schema_id)(b"12345" + value, 5) == (fields, len(value) + 5)


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_truncated_record_is_rejected(schema_id: int, data: st.DataObject) -> None:
    value = HEADER.pack(0, schema_id) + written(schema_id, data.draw(values(registry.load_schema(schema_id))))
    kept = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(RecordError):
        decode(value[:kept])


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_damaged_bytes_raise_or_equal_fastavro(schema_id: int, data: st.DataObject) -> None:
    value = bytearray(written(schema_id, data.draw(values(registry.load_schema(schema_id)))))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        found, end = registry.get_reader(schema_id)(bytes(value), 0)
    except BROKEN:
        return
    assert repr((found, end)) == repr(fastavro(schema_id, bytes(value)))


@SCHEMA
@settings(max_examples=30)  # for each schema
@given(data=st.data())
def test_wanted_fields_equal_whole_record_and_skipped_fields_are_checked(schema_id: int, data: st.DataObject) -> None:
    schema = registry.load_schema(schema_id)
    names = [field["name"] for field in schema["fields"]]
    wanted = data.draw(st.lists(st.sampled_from([*names, "no field of it"]), min_size=1, unique=True))
    value = bytearray(written(schema_id, data.draw(values(schema))))
    for _ in range(data.draw(st.integers(0, 2))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        whole, end = compile_reader(schema)(bytes(value), 0)
    except BROKEN as error:
        with pytest.raises(type(error)):
            compile_reader(schema, wanted)(bytes(value), 0)
    else:
        assert repr(compile_reader(schema, wanted)(bytes(value), 0)) == repr((tuple(map(whole.get, wanted)), end))


def test_numbers_beyond_64_bits_are_rejected() -> None:
    read = compile_reader("long")
    assert read(b"\xff" * 9 + b"\x01", 0) == (-(2**63), 10)
    with pytest.raises(ValueError, match="more than 64 bits"):
        read(b"\xff" * 9 + b"\x02", 0)


@pytest.mark.parametrize(
    "body", [b"\xff" * 2**20, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x00" * 16 + b"\xfe\xff\xff\xff\x0f"]
)
@SCHEMA
def test_huge_lengths_and_counts_fail_quickly(schema_id: int, body: bytes) -> None:
    with pytest.raises(RecordError):
        decode(HEADER.pack(0, schema_id) + body)


def test_array_of_ids_beyond_the_end_fails_quickly() -> None:
    read = compile_reader({"type": "array", "items": {"type": "fixed", "size": 16, "name": "Id"}})
    with pytest.raises(EOFError):
        read(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"x" * 40, 0)


def test_blocks_with_negative_count_and_size_are_read() -> None:
    """Other Avro writers use them, so that a reader can skip a block."""
    read = compile_reader({"type": "array", "items": "long"})
    assert read(b"\x03\x04\x02\x04\x02\x06\x00", 0) == ([1, 2, 3], 7)


def test_unsupported_type_is_named() -> None:
    with pytest.raises(KeyError, match="enum"):
        compile_reader({"type": "enum", "name": "Suit", "symbols": ["HEARTS"]})


def test_field_decoder_resolves_older_version() -> None:
    older = min(schema_id for schema_id, name in registry.schema_versions().items() if name.startswith("connector_state-"))
    assert older != registry.newest_ids()["connector_state"]
    fields = dict(zip(("connector", "stream", "cursor"), "abc", strict=True)) | {"last_event_at": None, "last_success_at": 1}
    fields |= dict.fromkeys(("read", "published", "dead_lettered", "repeated"), 2)
    value = HEADER.pack(0, older) + written(older, fields)
    names = [
        *(field["name"] for field in registry.load_schema(registry.newest_ids()["connector_state"])["fields"]),
        "no field of it",
    ]
    name, whole = decode(value)
    assert make_field_decoder({"connector_state": names})(value) == (name, tuple(map(whole.get, names)))
    assert make_field_decoder({"tick": ("at",)})(value) == (name, whole)


def test_decode_returns_schema_name() -> None:
    fields = {"at": 5, "since": None}
    assert decode(encode("tick", fields)) == ("tick", fields)
