"""The bytes on Kafka: the Confluent wire format, a zero byte, a 4-byte big-endian schema id, then Avro.

Decoded records are plain dicts of `schemas/fields.py`'s Avro column. An older schema version is resolved to the newest.
"""

from functools import cache
from io import BytesIO
from struct import Struct
from typing import Any

from fastavro import schemaless_reader
from pydantic import BaseModel

from schemas.errors import RecordError
from schemas.registry import frozen, ids, newest, parsed, reader
from schemas.writer import Writer, compiled

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
    schema_id = newest()[name]
    return compiled(frozen(schema_id), HEADER.pack(0, schema_id))


def encode_model(name: str, model: BaseModel) -> bytes:
    """The same for a validated model."""
    return encode(name, model.model_dump())


def decode(value: bytes | None) -> tuple[str, Fields]:
    """Schema name and fields of one record. Raises RecordError (`not_avro`, `unknown_schema`) for anything else."""
    if value is None or len(value) < HEADER.size or value[0] != 0:
        raise RecordError("not_avro", "the value does not begin with the wire format's zero byte and schema id")
    schema_id = HEADER.unpack_from(value)[1]
    versioned = ids().get(schema_id)
    if versioned is None:
        raise RecordError("unknown_schema", f"schema id {schema_id} was never given; see `touchline schemas show`")
    name = versioned.rpartition("-")[0]
    try:
        fields, end = _read(value, schema_id, newest()[name])
    except Exception as error:  # whatever a broken byte leads to: EOFError, IndexError, UnicodeDecodeError, ...
        raise RecordError("not_avro", f"the bytes do not follow schema {versioned}: {type(error).__name__}") from error
    if end != len(value):
        raise RecordError("not_avro", f"{len(value) - end} bytes follow the end of a {versioned} record")
    assert isinstance(fields, dict)
    return name, fields


def touchpoint_in(name: str, fields: Fields) -> Fields:
    """The source's own record inside a `resolved` one; any other record itself. Raises RecordError where it cannot be read."""
    return decode(fields["touchpoint"])[1] if name == "resolved" else fields


def came_from(value: bytes | None) -> tuple[str, str]:
    """Source and connector of the touchpoint in these bytes, or in a `resolved` record of it; empty where there is none."""
    try:
        fields = touchpoint_in(*decode(value))
    except RecordError:
        return "", ""
    return (fields["source"], fields["connector"]) if "source" in fields else ("", "")


def _read(value: bytes, schema_id: int, wanted: int) -> tuple[Any, int]:
    """The fields in the wanted version of the schema, and where the record ends."""
    if schema_id == wanted:
        return reader(schema_id)(value, HEADER.size)
    body = BytesIO(value)
    body.seek(HEADER.size)
    return schemaless_reader(body, parsed(schema_id), parsed(wanted)), body.tell()
