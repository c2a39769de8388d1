"""Encodes and decodes the values on Kafka, in the Confluent wire format: a zero byte, a 4-byte schema id, then Avro.

A decoded record is a plain dict with the Avro types of `schemas/records/fields.py`. Records of older schema versions are resolved
to the newest version.
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
    """Return one record of schema `name` in its newest version. Raises ValueError for fields that do not fit the schema."""
    try:
        return _writer(name)(fields)
    except Exception as error:  # a value of a wrong type: AttributeError, KeyError, struct.error, ...
        raise ValueError(f"the fields do not fit schema {name}: {type(error).__name__}") from error


@cache
def _writer(name: str) -> Writer:
    schema_id = newest_ids()[name]
    return compile_writer(load_schema(schema_id), HEADER.pack(0, schema_id))


def encode_model(name: str, model: BaseModel) -> bytes:
    """Return the record of a validated model."""
    return encode(name, model.model_dump())


def decode(value: bytes | None) -> tuple[str, Fields]:
    """Return schema name and fields of one record. Raises RecordError (`not_avro`, `unknown_schema`) for any other bytes."""
    return _decode(_reader, value)


def make_field_decoder(wanted: Mapping[str, Sequence[str]]) -> Callable[[bytes | None], tuple[str, Any]]:
    """Return a `decode` that reads only some fields: `wanted` maps schema name to field names.

    A record of these schemas becomes the tuple of its wanted fields, with None for a field that the schema does not have. It
    still validates all bytes. Records of other schemas become dicts.
    """

    @cache
    def get_field_reader(schema_id: int) -> tuple[str, Reader]:
        name, read = _reader(schema_id)
        fields = wanted.get(name)
        if fields is None:
            return name, read
        if newest_ids()[name] == schema_id:
            return name, get_reader(schema_id, fields)

        def read_fields(value: bytes, begin: int) -> tuple[Any, int]:
            found, end = read(value, begin)
            return tuple(map(found.get, fields)), end

        return name, read_fields

    return partial(_decode, get_field_reader)


def _decode(reader_of: Callable[[int], tuple[str, Reader]], value: bytes | None) -> tuple[str, Any]:
    if value is None or len(value) < HEADER.size or value[0] != 0:
        raise RecordError("not_avro", "the value does not begin with the zero byte and schema id of the wire format")
    schema_id = HEADER.unpack_from(value)[1]
    try:
        name, read = reader_of(schema_id)
    except KeyError as error:
        raise RecordError("unknown_schema", f"schema id {schema_id} is unknown: see `touchline schemas show`") from error
    try:
        fields, end = read(value, HEADER.size)
    except Exception as error:  # damaged bytes: EOFError, IndexError, UnicodeDecodeError, ...
        raise RecordError(
            "not_avro", f"the bytes do not follow schema {schema_versions()[schema_id]}: {type(error).__name__}"
        ) from error
    if end != len(value):
        raise RecordError("not_avro", f"{len(value) - end} bytes follow the end of a {schema_versions()[schema_id]} record")
    return name, fields


@cache
def _reader(schema_id: int) -> tuple[str, Reader]:
    """Return the name of a schema and the reader of its records, resolved to the newest version. Raises KeyError."""
    name = schema_versions()[schema_id].rpartition("-")[0]
    if newest_ids()[name] == schema_id:
        return name, get_reader(schema_id)
    written, wanted = load_parsed_schema(schema_id), load_parsed_schema(newest_ids()[name])

    def read_resolved(value: bytes, begin: int) -> tuple[Any, int]:
        body = BytesIO(value)
        body.seek(begin)
        return schemaless_reader(body, written, wanted), body.tell()

    return name, read_resolved


def extract_touchpoint(name: str, fields: Fields) -> Fields:
    """Return the touchpoint inside a `resolved` record; any other record is returned as it is. Raises RecordError."""
    return decode(fields["touchpoint"])[1] if name == "resolved" else fields


def extract_source_and_connector(value: bytes | None) -> tuple[str, str]:
    """Return source and connector of a touchpoint or `resolved` record; empty texts for anything else."""
    try:
        fields = extract_touchpoint(*decode(value))
    except RecordError:
        return "", ""
    return (fields["source"], fields["connector"]) if "source" in fields else ("", "")
