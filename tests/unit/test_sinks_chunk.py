"""The pure part of a sink: rows and dead letters."""

import pytest

from schemas.errors import RecordError
from schemas.records.dead_letter import replay_headers
from schemas.wire.codec import HEADER, decode, encode
from schemas.wire.registry import load_schema, schema_versions
from schemas.wire.writer import compile_writer
from sinks.chunk import Record, make_dead_letter, transform
from sinks.contract import load_tables
from tests.harness.sinks import Stored, encode_record, pack_resolved, resolved, route

TOUCHPOINTS = load_tables()["touchpoints"]
PLACE = {"record_partition", "record_offset"}
OF_IDENTITY = {"identifier_ids", "identifier_kinds", "identifier_values", "traits", "verified", "record"}


def records(*values: bytes | None, partition: int = 3) -> list[Record]:
    return [Stored("touchline.resolved", partition, offset, value) for offset, value in enumerate(values, 40)]


def test_row_holds_the_record_and_its_position() -> None:
    fields = resolved(text="ja, grüß Gott 🙂")
    (row,) = transform(TOUCHPOINTS, records(encode_record("resolved", fields))).rows
    found = dict(zip(TOUCHPOINTS.columns, row, strict=True))
    assert {name for name in found if found[name] is not None} == fields.keys() - {"identifiers"} | PLACE | OF_IDENTITY
    assert {name: found[name] for name in fields if name in found} == {
        name: fields[name] for name in fields if name != "identifiers"
    }
    assert (found["record_partition"], found["record_offset"]) == (3, 40)


def test_row_holds_the_identifiers_and_the_bytes_of_the_source() -> None:
    nodes = [b"n" * 16, b"m" * 16]
    fields = resolved(nodes=nodes, traits={"surname": "Lovelace"}, verified=False)
    value = encode_record("resolved", fields)
    (row,) = transform(TOUCHPOINTS, records(value)).rows
    found = dict(zip(TOUCHPOINTS.columns, row, strict=True))
    assert (found["identifier_ids"], found["identifier_kinds"], found["identifier_values"]) == (
        nodes,
        ["email"],
        ["ada@example.org"],
    )
    assert (found["traits"], found["verified"], "surname" in found["attributes"]) == ({"surname": "Lovelace"}, False, False)
    assert found["record"] == decode(value)[1]["touchpoint"]


def test_touchpoint_of_an_older_schema_has_no_traits_and_counts_as_verified() -> None:
    (older,) = (schema_id for schema_id, name in schema_versions().items() if name == "erp-1")
    fields = {name: value for name, value in resolved().items() if name not in ("customer_id", "stage")}
    body = compile_writer(load_schema(older), HEADER.pack(0, older))(fields)
    (row,) = transform(TOUCHPOINTS, records(pack_resolved(resolved(), body))).rows
    found = dict(zip(TOUCHPOINTS.columns, row, strict=True))
    assert (found["identifier_ids"], found["traits"], found["verified"]) == ([], {}, True)
    assert (found["identifier_values"], found["record"]) == (["ada@example.org"], body)


def test_fields_without_a_column_are_attributes_in_the_order_of_the_schema() -> None:
    """With another order, a restarted process would insert another block under the same token."""
    fields = resolved(source="crm", contract_id="C-1", opportunity_id="O-1", attributes={"segment": "home"})
    (row,) = transform(TOUCHPOINTS, records(encode_record("resolved", fields))).rows
    attributes = row[TOUCHPOINTS.columns.index("attributes")]
    assert list(attributes.items()) == [("segment", "home"), ("opportunity_id", "O-1"), ("contract_id", "C-1")]


@pytest.mark.parametrize(
    ("touchpoint", "reason"),
    [
        (b"", "not_avro"),
        (b"not avro", "not_avro"),
        (b"\x00\x00\x00\xff\xff", "unknown_schema"),
        (encode("route", route(b"a" * 16, b"b" * 16)), "unexpected_schema"),
    ],
    ids=["empty", "no record", "a later schema", "another schema"],
)
def test_record_with_a_broken_touchpoint_becomes_one_dead_letter(touchpoint: bytes, reason: str) -> None:
    good, broken = resolved(), pack_resolved(resolved(), touchpoint)
    chunk = transform(TOUCHPOINTS, records(encode_record("resolved", good), broken, encode_record("resolved", good)))
    assert [source.offset for source in chunk.sources] == [40, 42]
    assert [(letter.offset, letter.reason, letter.payload) for letter in chunk.dead_letters] == [(41, reason, broken)]


def test_touchpoint_of_the_harness_has_only_fields_of_its_family() -> None:
    with pytest.raises(ValueError, match="a touchpoint of erp has no field metric"):
        resolved(metric="nps")


def test_broken_bytes_become_dead_letters_and_other_records_rows() -> None:
    good = encode_record("resolved", resolved())
    chunk = transform(TOUCHPOINTS, records(good, b"not avro", good[:-3], good + b"!", b"\x00\x00\x00\xff\xff", None, good))
    assert [source.offset for source in chunk.sources] == [40, 46]
    assert [(letter.offset, letter.reason) for letter in chunk.dead_letters] == [
        (41, "not_avro"),
        (42, "not_avro"),
        (43, "not_avro"),
        (44, "unknown_schema"),
        (45, "not_avro"),
    ]
    assert {letter.stage for letter in chunk.dead_letters} == {"sink_touchpoints"}
    assert chunk.dead_letters[0].payload == b"not avro"
    assert chunk.dead_letters[0].origin == "touchline.resolved/3/41"


def test_repeated_broken_record_is_the_same_dead_letter() -> None:
    first, second = (transform(TOUCHPOINTS, records(b"broken")).dead_letters[0] for _ in range(2))
    assert first.letter_id == second.letter_id


def test_replayed_record_keeps_its_dead_letter_and_counts_replays() -> None:
    first = transform(TOUCHPOINTS, records(b"broken")).dead_letters[0]
    again = Stored("touchline.resolved", 3, 99, b"broken", headers=replay_headers(40, 2))
    (second,) = transform(TOUCHPOINTS, [again]).dead_letters
    assert (second.letter_id, second.offset, first.replays, second.replays) == (first.letter_id, 40, 0, 2)


def test_dead_letter_of_a_touchpoint_names_source_and_connector() -> None:
    fine, broken = records(encode_record("resolved", resolved()), pack_resolved(resolved(), b"broken"))
    error = RecordError("unfit_value", "too large")
    assert [
        (each.source, each.connector) for each in (make_dead_letter(TOUCHPOINTS, record, error) for record in (fine, broken))
    ] == [
        ("erp", "files"),
        ("", ""),
    ]


def test_records_of_other_tables_are_skipped_and_counted() -> None:
    chunk = transform(TOUCHPOINTS, records(encode("route", route(b"a" * 16, b"b" * 16)), encode_record("resolved", resolved())))
    assert (len(chunk.rows), chunk.dead_letters, chunk.skipped) == (1, [], 1)
