"""The bytes on Kafka: the Confluent wire format, a zero byte, a 4-byte big-endian schema id, then Avro.

Decoded records are plain dicts of `schemas/records/fields.py`'s Avro column. An older schema version is resolved to the newest.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from io import BytesIO
from struct import Struct
from typing import Any

from fastavro import schemaless_reader
from pydantic import BaseModel

from schemas.errors import RecordError
from schemas.wire.reader import Reader
from schemas.wire.registry import get_reader, load_parsed_schema, load_schema, newest_ids, schema_versions
from schemas.wire.writer import Writer, compile_writer

HEADER = Struct(">BI")
Fields = dict[str, Any]


def encode(name: str, fields: Fields) -> bytes:
    """One record of schema `name` in its newest version. Raises ValueError for fields that do not fit it."""
    try:
        return _writer(name)(fields)
    except Exception as error:  # whatever a value of another type leads to: AttributeError, KeyError, struct.error, ...
        raise ValueError(f"the fields do not fit schema {name}: {type(error).__name__}") from error


@cache
def _writer(name: str) -> Writer:
    schema_id = newest_ids()[name]
    return compile_writer(load_schema(schema_id), HEADER.pack(0, schema_id))


def encode_model(name: str, model: BaseModel) -> bytes:
    """The same for a validated model."""
    return encode(name, model.model_dump())


def decode(value: bytes | None) -> tuple[str, Fields]:
    """Schema name and fields of one record. Raises RecordError (`not_avro`, `unknown_schema`) for anything else."""
    return _decode(_reader, value)


def make_field_decoder(wanted: Mapping[str, Sequence[str]]) -> Callable[[bytes | None], tuple[str, Any]]:
    """The same as `decode`, but of the schemas named here a record is the tuple of these fields, None for those it has not."""

    @cache
    def picker(schema_id: int) -> tuple[str, Reader]:
        name, read = _reader(schema_id)
        fields = wanted.get(name)
        if fields is None:
            return name, read
        if newest_ids()[name] == schema_id:
            return name, get_reader(schema_id, fields)

        def picked(value: bytes, begin: int) -> tuple[Any, int]:
            found, end = read(value, begin)
            return tuple(map(found.get, fields)), end

        return name, picked

    return partial(_decode, picker)


def _decode(reader_of: Callable[[int], tuple[str, Reader]], value: bytes | None) -> tuple[str, Any]:
    if value is None or len(value) < HEADER.size or value[0] != 0:
        raise RecordError("not_avro", "the value does not begin with the wire format's zero byte and schema id")
    schema_id = HEADER.unpack_from(value)[1]
    try:
        name, read = reader_of(schema_id)
    except KeyError as error:
        raise RecordError("unknown_schema", f"schema id {schema_id} was never given; see `touchline schemas show`") from error
    try:
        fields, end = read(value, HEADER.size)
    except Exception as error:  # whatever a broken byte leads to: EOFError, IndexError, UnicodeDecodeError, ...
        raise RecordError(
            "not_avro", f"the bytes do not follow schema {schema_versions()[schema_id]}: {type(error).__name__}"
        ) from error
    if end != len(value):
        raise RecordError("not_avro", f"{len(value) - end} bytes follow the end of a {schema_versions()[schema_id]} record")
    return name, fields


@cache
def _reader(schema_id: int) -> tuple[str, Reader]:
    """The schema's name, and what reads its records as the newest version has them. Raises KeyError for an unknown id."""
    name = schema_versions()[schema_id].rpartition("-")[0]
    if newest_ids()[name] == schema_id:
        return name, get_reader(schema_id)
    written, wanted = load_parsed_schema(schema_id), load_parsed_schema(newest_ids()[name])

    def resolved(value: bytes, begin: int) -> tuple[Any, int]:
        body = BytesIO(value)
        body.seek(begin)
        return schemaless_reader(body, written, wanted), body.tell()

    return name, resolved


def extract_touchpoint(name: str, fields: Fields) -> Fields:
    """The source's own record inside a `resolved` one; any other record itself. Raises RecordError where it cannot be read."""
    return decode(fields["touchpoint"])[1] if name == "resolved" else fields


def extract_source_and_connector(value: bytes | None) -> tuple[str, str]:
    """Source and connector of the touchpoint in these bytes, or in a `resolved` record of it; empty where there is none."""
    try:
        fields = extract_touchpoint(*decode(value))
    except RecordError:
        return "", ""
    return (fields["source"], fields["connector"]) if "source" in fields else ("", "")
