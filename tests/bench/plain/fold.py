"""Fold of all variants: count, decayed sum and last time of each customer.

The module uses msgspec and the standard library only, because the interpreters of other engines import it. All variants use
our reader, so that engines are compared and not codecs.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.wire.reader import compile_reader

SCHEMAS = Path(__file__).parents[3] / "schemas" / "wire" / "avsc"
SCHEMA = max(SCHEMAS.glob("erp-*.avsc"), key=lambda path: int(path.stem.removeprefix("erp-")))  # the newest version
HEADER_BYTES = 5
DECAY = 0.9


class Row(msgspec.Struct, array_like=True, gc=False):
    """Row of one customer. `total` is in units of the currency and decays at each touchpoint; `last` is in milliseconds."""

    count: int = 0
    total: float = 0.0
    last: int = 0


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode
_read = compile_reader(json.loads(SCHEMA.read_text()))


def decode(value: bytes | None) -> Row:
    """Return the row from its bytes, or a new one."""
    return Row() if value is None else _decode(value)


def read(value: bytes) -> dict[str, Any]:
    """Return the fields of a touchpoint in the wire format."""
    fields: dict[str, Any] = _read(value, HEADER_BYTES)[0]
    return fields


def add(row: Row, touchpoint: dict[str, Any]) -> None:
    """Fold one touchpoint into its customer's row, in place."""
    row.count += 1
    row.total = row.total * DECAY + touchpoint["amount"] / 10_000
    row.last = touchpoint["occurred_at"]
