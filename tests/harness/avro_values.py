"""Random records of every released schema, and the bytes that fastavro writes for them."""

from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_writer
from hypothesis import strategies as st

from schemas.wire import registry

SCHEMA = pytest.mark.parametrize(
    "schema_id", sorted(registry.schema_versions()), ids=lambda each: registry.schema_versions()[each]
)
LONG = st.integers(-(2**63), 2**63 - 1)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=200),
    "bytes": st.binary(max_size=200),
    "long": LONG,
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "Id": st.binary(min_size=16, max_size=16),
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Whatever a schema can hold."""
    if isinstance(schema, list):
        return st.none() | values(schema[1])
    if not isinstance(schema, dict):
        return PLAIN[schema.removeprefix("touchline.")]
    if schema["type"] == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), max_size=70)
    if schema["type"] == "map":
        return st.dictionaries(st.text(max_size=20), values(schema["values"]), max_size=70)
    return PLAIN[str(schema.get("name", schema["type"]))]


def written(schema_id: int, fields: Any) -> bytes:
    body = BytesIO()
    schemaless_writer(body, registry.load_parsed_schema(schema_id), fields)
    return body.getvalue()
