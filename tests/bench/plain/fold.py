"""The fold that every variant does: read a touchpoint, then count, decayed sum and last time of its customer.

Only fastavro, msgspec and the standard library: the other engines' interpreters import it, too.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from fastavro import parse_schema, schemaless_reader

SCHEMA = parse_schema(json.loads((Path(__file__).parents[3] / "schemas" / "avsc" / "erp-1.avsc").read_text()))
HEADER_BYTES = 5
DECAY = 0.9


class Row(msgspec.Struct, array_like=True, gc=False):
    """One customer: `total` in whole units of the currency, decayed by each touchpoint; `last` in milliseconds since 1970."""

    count: int = 0
    total: float = 0.0
    last: int = 0


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


def decode(value: bytes | None) -> Row:
    """The row from its bytes, or a new one."""
    return Row() if value is None else _decode(value)


def read(value: bytes) -> dict[str, Any]:
    """The fields of a touchpoint in the wire format."""
    body = BytesIO(value)
    body.seek(HEADER_BYTES)
    fields: Any = schemaless_reader(body, SCHEMA, None)
    return fields  # type: ignore[no-any-return]


def add(row: Row, touchpoint: dict[str, Any]) -> None:
    """Fold one touchpoint into its customer's row, in place."""
    row.count += 1
    row.total = row.total * DECAY + touchpoint["amount"] / 10_000
    row.last = touchpoint["occurred_at"]
