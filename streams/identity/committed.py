"""Rows as of the last complete chunk, although a crash may keep only a part of the rows that a chunk changed.

Each stored row holds its value, the value before the chunk, and the offset of the chunk's last record. The last row that a chunk
writes is the mark (key `m`): the offset of its last record. The changelog keeps the order of rows, so a mark means that all rows
of its chunk are complete. A row beyond the mark belongs to an incomplete chunk, and its previous value counts.

The state is therefore always that of a whole number of requests. A repeated chunk takes the same decisions in the same order.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from streams.contract import Rows

MARK = b"m"
OFFSET_BYTES, LENGTH_BYTES = 8, 4
HEAD_BYTES = OFFSET_BYTES + LENGTH_BYTES


class _Row(NamedTuple):
    """Decoded row, its encoder, its value before the chunk, and the offset of the chunk's last record."""

    row: Any
    encode: Callable[[Any], bytes]
    before: bytes
    offset: int


class CommittedRows:
    """Rows of one chunk, whose last record has `offset`. `complete` writes the mark, after all other rows."""

    def __init__(self, rows: Rows, offset: int) -> None:
        self._rows = rows
        self._offset = offset
        stored: bytes | None = rows.get(MARK, _keep)
        self._mark = -1 if stored is None else int.from_bytes(stored, "big")
        self._decoded: dict[bytes, Any] = {}

    def fetch(self, keys: Iterable[bytes]) -> None:
        """Load the rows of many keys in one call."""
        self._rows.fetch(keys)

    def get(self, key: bytes, decode: Callable[[bytes | None], Any]) -> Any:
        """Return the row of `key`, decoded from its value or from None."""
        try:
            return self._decoded[key]
        except KeyError:
            row = self._decoded[key] = decode(self._value(key) or None)
            return row

    def put(self, key: bytes, row: Any, encode: Callable[[Any], bytes]) -> None:
        """Replace the row of `key`."""
        self._decoded[key] = row
        self._rows.put(key, _Row(row, encode, self._value(key), self._offset), _pack)

    def complete(self) -> None:
        """Write the mark of the chunk. A repeated chunk leaves a later mark as it is."""
        if self._offset > self._mark:
            self._rows.put(MARK, self._offset.to_bytes(OFFSET_BYTES, "big"), bytes)

    def _value(self, key: bytes) -> bytes:
        """Return the value before the chunk, empty for a new row."""
        stored = self._rows.get(key, _keep)
        if stored is None:
            return b""
        if isinstance(stored, _Row):
            return stored.before
        end = HEAD_BYTES + int.from_bytes(stored[OFFSET_BYTES:HEAD_BYTES], "big")
        is_complete = int.from_bytes(stored[:OFFSET_BYTES], "big") <= self._mark
        value: bytes = stored[end:] if is_complete else stored[HEAD_BYTES:end]
        return value


def read_value(stored: bytes) -> bytes:
    """Return the newest value of a stored row."""
    return stored[HEAD_BYTES + int.from_bytes(stored[OFFSET_BYTES:HEAD_BYTES], "big") :]


def read_versions(stored: bytes) -> tuple[bytes, bytes]:
    """Return the value of a stored row before its chunk, and its newest value."""
    end = HEAD_BYTES + int.from_bytes(stored[OFFSET_BYTES:HEAD_BYTES], "big")
    return stored[HEAD_BYTES:end], stored[end:]


def _keep(value: bytes | None) -> bytes | None:
    return value


def _pack(row: _Row) -> bytes:
    before = row.before
    head = row.offset.to_bytes(OFFSET_BYTES, "big") + len(before).to_bytes(LENGTH_BYTES, "big")
    return head + before + row.encode(row.row)
