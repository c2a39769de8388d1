"""One change of a row, the same for whole envelopes and for those that ExtractNewRecordState unwrapped. Pure.

It corrects three things that would mislead a mapping: invented values of deleted rows, placeholders for values that Debezium did
not send, and snapshot rows that look like inserts.
"""

import json
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.errors import RecordError

Row = dict[str, Any]
POSITION = ("lsn", "file", "pos", "row", "commit_lsn", "change_lsn", "event_serial_no", "commit_scn", "scn", "rs_id", "ssn")
ENVELOPE = ("op", "source")
OPS = {"c", "u", "d", "r"}
NOT_SOURCE_FIELDS = {"op", "deleted", "ts_ms", "ts_us", "ts_ns"}
PLACEHOLDER = "__debezium_unavailable_value"
NO_KEY = "the record has no key: give the table a primary key, or name its key in Debezium's message.key.columns"
UNWRAPPED_VALUE = "the value is not an envelope with op and source: if the topic is unwrapped, set `unwrapped: true`"
WHOLE_VALUE = "the value is a whole envelope: set `unwrapped: false`"
NO_OP = "the value has no op: add op to add.fields of the transform"
NO_TIME = "the value has no source.ts_ms: if the topic is unwrapped, add source.ts_ms to add.fields of the transform"
NOT_A_ROW_CHANGE = "op must be c, u, d or r: other operations, such as a truncation, concern no single customer"


class Change(NamedTuple):
    """One change of one row. `op` is c (create), u (update), d (delete) or r (read by a snapshot)."""

    op: str
    key: Row
    before: Row | None
    after: Row | None
    source: Row

    @property
    def key_text(self) -> str:
        """The key as text, independent of field order and spacing."""
        return _to_text(self.key)

    @property
    def version(self) -> str:
        """The version, which is the same when Debezium repeats the change: the position in the database's log, or a hash.

        A repeated snapshot has another position, so the version of a snapshot row is a hash of its content.
        """
        if self.op == "r":
            return f"r/{_hash_row(self.after)}"
        position = [str(self.source[name]) for name in POSITION if self.source.get(name) is not None]
        return "/".join([str(self.source["ts_ms"]), *(position or [self.op, _hash_row(self.after)])])


def parse_change(key: Any, value: Any, *, unwrapped: bool, full: bool) -> Change:
    """Return the change in key and value. Without `full`, `before` holds only the key. Raises RecordError."""
    if not isinstance(key, dict) or not key:
        raise RecordError("missing_field", NO_KEY)
    if not isinstance(value, dict):
        raise RecordError("wrong_type", "the value must be one object")
    whole = all(name in value for name in ENVELOPE) and isinstance(value["source"], dict)
    if whole == unwrapped:
        raise RecordError("unexpected_schema", WHOLE_VALUE if whole else UNWRAPPED_VALUE)
    op, before, after, source = _read_unwrapped(value) if unwrapped else _read_envelope(value)
    if op not in OPS:
        raise RecordError(*(("unknown_value", NOT_A_ROW_CHANGE) if op else ("missing_field", NO_OP)))
    if not isinstance(source.get("ts_ms"), int):
        raise RecordError("missing_field", NO_TIME)
    if op == "c" and str(source.get("snapshot") or "false").lower() != "false":
        op = "r"
    if not full:
        before = dict(key) if op == "d" else None
    return Change(op, key, _remove_placeholders(before), _remove_placeholders(after), source)


def _read_envelope(value: Row) -> tuple[Any, Row | None, Row | None, Row]:
    return value["op"], value.get("before"), value.get("after"), value["source"]


def _read_unwrapped(value: Row) -> tuple[Any, Row | None, Row | None, Row]:
    row = {name: field for name, field in value.items() if not name.startswith("__")}
    metadata = {name[2:]: field for name, field in value.items() if name.startswith("__")}
    source = {name.removeprefix("source_"): field for name, field in metadata.items() if name not in NOT_SOURCE_FIELDS}
    if str(metadata.get("deleted")).lower() == "true":
        return "d", row, None, source
    return metadata.get("op"), None, row, source


def _remove_placeholders(row: Row | None) -> Row | None:
    """Return the row without the long values that PostgreSQL does not send because the update left them unchanged."""
    return {name: value for name, value in row.items() if value != PLACEHOLDER} if isinstance(row, dict) else None


def _hash_row(row: Row | None) -> str:
    return blake2b(_to_text(row).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _to_text(row: Row | None) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
