"""Frozen schemas, wire format, identifiers, event ids, dead letters, and validation of touchpoints."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.utils import generate_one
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import ConfigError, RecordError
from schemas.records.dead_letter import (
    MAX_KEY_BYTES,
    MAX_PAYLOAD_BYTES,
    OFFSET_HEADER,
    REPLAYS_HEADER,
    make_dead_letter,
    make_record_dead_letter,
    replay_headers,
)
from schemas.records.families import FAMILIES
from schemas.records.fields import instant, milliseconds, money
from schemas.records.touchpoint import event_id
from schemas.wire import registry
from schemas.wire.avro import derive
from schemas.wire.codec import HEADER, decode, encode, encode_model
from schemas.wire.topics import PARTITIONS, TOPICS, customer_partition
from tests.harness.sinks import Stored

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "event_id": event_id("shop", "order:1", "1"),
    "system": "shop",
    "connector": "files",
    "type": "order.placed",
    "channel": "web",
    "occurred_at": NOW,
    "received_at": NOW,
    "identifiers": [{"kind": "email", "value": "ann@example.com"}],
}


def test_every_model_equals_its_newest_frozen_schema() -> None:
    assert registry.find_changed_models() == []


@pytest.mark.parametrize("schema_id", sorted(registry.schema_versions()))
def test_newest_schema_reads_records_of_every_version(schema_id: int) -> None:
    name = registry.schema_versions()[schema_id].rpartition("-")[0]
    written, old = BytesIO(), registry.load_parsed_schema(schema_id)
    schemaless_writer(written, old, generate_one(old))
    written.seek(0)
    read = schemaless_reader(written, old, registry.load_parsed_schema(registry.newest_ids()[name]))
    assert isinstance(read, dict)
    assert set(read) == set(registry.MODELS[name].model_fields)


def test_new_field_without_default_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in registry.FOLDER.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    monkeypatch.setitem(registry.MODELS, "tick", registry.MODELS["merge"])
    with pytest.raises(ConfigError, match="give it a default"):
        registry.register("tick")
    monkeypatch.setitem(registry.MODELS, "fresh", registry.MODELS["merge"])
    assert registry.register("fresh") == "fresh-1"
    assert "fresh-1" in json.loads((tmp_path / "ids.json").read_text()).values()
    monkeypatch.undo()
    registry.schema_versions.cache_clear()
    registry.newest_ids.cache_clear()


@pytest.mark.parametrize("name", sorted(registry.MODELS))
def test_wire_format_round_trip(name: str) -> None:
    fields = generate_one(parse_schema(derive(registry.MODELS[name]), named_schemas={}))
    assert isinstance(fields, dict)
    value = encode(name, fields)
    assert HEADER.unpack_from(value) == (0, registry.newest_ids()[name])
    assert decode(value)[0] == name
    assert encode(name, decode(value)[1]) == value


def outcome(value: bytes) -> str:
    """Return the schema name, or the reason of a RecordError; any other error is raised."""
    try:
        return decode(value)[0]
    except RecordError as error:
        return error.reason


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_record_error(value: bytes) -> None:
    assert outcome(value) in {"not_avro", "unknown_schema", *registry.MODELS}
    assert outcome(b"\x00\x00\x00\x00\x02" + value) in {"not_avro", "erp"}


def test_bytes_after_record_are_rejected() -> None:
    with pytest.raises(RecordError, match="1 bytes follow"):
        decode(encode("tick", {"at": 1, "since": None}) + b"x")


def test_touchpoint_is_encoded_as_milliseconds_bytes_and_ten_thousandths() -> None:
    order = FAMILIES["erp"].model_validate({**EVENT, "amount": "12.5", "currency": "EUR"})
    _, fields = decode(encode_model("erp", order))
    assert fields["event_id"] == EVENT["event_id"].bytes
    assert instant(fields["occurred_at"]) == NOW
    assert fields["amount"] == 125_000


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_milliseconds_round_trip(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    assert timedelta(0) <= aware - instant(milliseconds(aware)) < timedelta(milliseconds=1)


def test_money_is_exact() -> None:
    assert money(Decimal("0.1") + Decimal("0.2")) == 3_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"occurred_at": NOW + timedelta(days=2)}, ""),
        ({"occurred_at": datetime(1969, 1, 1, tzinfo=UTC)}, ""),
        ({"occurred_at": NOW.replace(tzinfo=None)}, "occurred_at"),
        ({"identifiers": []}, "identifiers"),
        ({"type": "Order Placed"}, "type"),
        ({"channel": "carrier pigeon"}, "channel"),
        ({"text": "x" * 65_537}, "text"),
        ({"surprise": 1}, "surprise"),
        ({"amount": "a lot"}, "amount"),
    ],
)
def test_invalid_touchpoint_is_rejected(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        FAMILIES["erp"].model_validate({**EVENT, **change})
    assert [str(part) for error in refusal.value.errors() for part in error["loc"]] == ([field] if field else [])


def test_answer_outside_declared_scale_is_rejected() -> None:
    answer = {**EVENT, "type": "survey.answered", "survey_id": "1", "question_id": "1", "metric": "nps"}
    FAMILIES["feedback"].model_validate({**answer, "scale_low": 0, "scale_high": 10, "answer": 10})
    with pytest.raises(ValidationError, match="outside the declared scale"):
        FAMILIES["feedback"].model_validate({**answer, "scale_low": 0, "scale_high": 10, "answer": 11})


def test_event_id_depends_on_system_record_and_version() -> None:
    assert event_id("shop", "1", "a") == event_id("shop", "1", "a")
    assert (
        len({event_id(*parts) for parts in (("shop", "1", "a"), ("shop", "1", "b"), ("crm", "1", "a"), ("shop", "1a", ""))}) == 4
    )


def test_dead_letter_keeps_payload_and_has_deterministic_id() -> None:
    error = RecordError("wrong_type", "field amount is no number")
    letters = [make_dead_letter(error, b"payload", stage="connect", origin="a:1", connector="files") for _ in range(2)]
    other = make_dead_letter(error, b"payload", stage="connect", origin="a:2", connector="files")
    assert letters[0].letter_id == letters[1].letter_id != other.letter_id
    assert (letters[0].payload, letters[0].size, letters[0].truncated) == (b"payload", 7, False)
    big = make_dead_letter(error, b"x" * (MAX_PAYLOAD_BYTES + 1), stage="connect", origin="a:1")
    assert (len(big.payload), big.size, big.truncated) == (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, True)


ERROR = RecordError("not_avro", "no record")


def test_dead_letter_of_kafka_record_keeps_place_key_and_schema_id() -> None:
    letter = make_record_dead_letter(ERROR, Stored("touchline.erp", 3, 41, b"\x00\x00\x00\x00\x63rest", b"key"), stage="identify")
    assert (letter.topic, letter.partition, letter.offset, letter.origin) == ("touchline.erp", 3, 41, "touchline.erp/3/41")
    assert (letter.payload, letter.key, letter.schema_id, letter.replays) == (b"\x00\x00\x00\x00\x63rest", b"key", 99, 0)
    assert letter.software.count(".") == 2
    assert make_record_dead_letter(ERROR, Stored("t", 0, 0, None), stage="identify").payload == b""


def test_long_key_is_cut_and_marked_as_truncated() -> None:
    letter = make_record_dead_letter(ERROR, Stored("t", 0, 0, b"v", b"k" * (MAX_KEY_BYTES + 1)), stage="identify")
    assert (letter.key, letter.truncated) == (b"k" * MAX_KEY_BYTES, True)


@given(st.binary(max_size=9), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 99))
def test_replayed_record_has_same_dead_letter_id(value: bytes, offset: int, later: int, replays: int) -> None:
    first = make_record_dead_letter(ERROR, Stored("touchline.erp", 3, offset, value), stage="identify")
    again = Stored("touchline.erp", 3, later, value, headers=replay_headers(offset, replays))
    second = make_record_dead_letter(RecordError("unprocessable", "another reason"), again, stage="identify")
    assert (second.letter_id, second.origin, second.offset) == (first.letter_id, first.origin, first.offset)
    assert (second.replays, second.reason) == (replays, "unprocessable")
    assert make_record_dead_letter(ERROR, again, stage="join").letter_id != first.letter_id
    assert make_record_dead_letter(ERROR, again._replace(partition=4), stage="identify").letter_id != first.letter_id


@given(
    st.lists(st.tuples(st.sampled_from([OFFSET_HEADER, REPLAYS_HEADER, "other"]), st.none() | st.binary(max_size=20)), max_size=4)
)
def test_foreign_headers_do_not_prevent_a_dead_letter(headers: list[Any]) -> None:
    letter = make_record_dead_letter(ERROR, Stored("touchline.erp", 3, 7, b"v", headers=headers), stage="identify")
    whole = {
        name for name, value in headers if value and value.decode("latin-1").isascii() and value.isdigit() and len(value) < 16
    }
    assert (letter.offset, letter.replays) == (7, 0) or {OFFSET_HEADER, REPLAYS_HEADER} <= whole
    assert len(encode_model("dead_letter", letter)) < 1_000


def test_topic_names_are_unique_and_customer_topics_share_a_partition_count() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    by_name = {topic.name: topic for topic in TOPICS}
    for name in ("resolved", "ticks", "journeys", "satisfaction", "churn", "signals", "customer-state"):
        assert by_name[f"touchline.{name}"].partitions == PARTITIONS
    assert {customer_partition(bytes([byte]) * 16) for byte in range(256)} == set(range(PARTITIONS))
