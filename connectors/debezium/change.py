"""What Debezium says of one row, the same for whole envelopes and for those that ExtractNewRecordState has unwrapped. Pure.

It undoes three things that would mislead a mapping: values invented for deleted rows, placeholders for values that were not
sent, and rows of a snapshot that pass for inserts.
"""

import json
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.errors import RecordError

Row = dict[str, Any]
POSITION = ("lsn", "file", "pos", "row", "commit_lsn", "change_lsn", "event_serial_no", "commit_scn", "scn", "rs_id", "ssn")
ENVELOPE = ("op", "source")
OPS = {"c", "u", "d", "r"}
NOT_OF_THE_SOURCE = {"op", "deleted", "ts_ms", "ts_us", "ts_ns"}
NOT_SENT = "__debezium_unavailable_value"
NO_KEY = "the record has no key: give the table a primary key, or name its key in Debezium's message.key.columns"
NOT_WHOLE = "the value is no envelope with op and source: is it unwrapped? then set `unwrapped: true`"
WHOLE = "the value is a whole envelope: set `unwrapped: false`"
NO_OP = "the value does not say what was done: name op in add.fields of the transform"
NO_TIME = "the value does not say when: source.ts_ms must be there; where it is unwrapped, name it in add.fields of the transform"
NOT_OF_A_ROW = "op must be c, u, d or r: what happens to a whole table (a truncation) or to none tells of no customer"


class Change(NamedTuple):
    """One change of one row. `op` is c, u, d, or r: it was there already, when a snapshot came by."""

    op: str
    key: Row
    before: Row | None
    after: Row | None
    source: Row

    @property
    def name(self) -> str:
        """The key as text, whatever order and spacing it was written with."""
        return _text(self.key)

    @property
    def version(self) -> str:
        """The same whenever Debezium tells of this change again: where it stands in the database's log, or what it says.

        A snapshot that is begun again has another position, so its rows are told apart by what they hold.
        """
        if self.op == "r":
            return f"r/{_digest(self.after)}"
        position = [str(self.source[name]) for name in POSITION if self.source.get(name) is not None]
        return "/".join([str(self.source["ts_ms"]), *(position or [self.op, _digest(self.after)])])


def change(key: Any, value: Any, *, unwrapped: bool, full: bool) -> Change:
    """The change that key and value tell of. Without `full` nothing but the key is believed of a row as it was before."""
    if not isinstance(key, dict) or not key:
        raise RecordError("missing_field", NO_KEY)
    if not isinstance(value, dict):
        raise RecordError("wrong_type", "the value must be one object")
    whole = all(name in value for name in ENVELOPE) and isinstance(value["source"], dict)
    if whole == unwrapped:
        raise RecordError("unexpected_schema", WHOLE if whole else NOT_WHOLE)
    op, before, after, source = _flat(value) if unwrapped else _whole(value)
    if op not in OPS:
        raise RecordError(*(("unknown_value", NOT_OF_A_ROW) if op else ("missing_field", NO_OP)))
    if not isinstance(source.get("ts_ms"), int):
        raise RecordError("missing_field", NO_TIME)
    if op == "c" and str(source.get("snapshot") or "false").lower() != "false":
        op = "r"
    if not full:
        before = dict(key) if op == "d" else None
    return Change(op, key, _sent(before), _sent(after), source)


def _whole(value: Row) -> tuple[Any, Row | None, Row | None, Row]:
    return value["op"], value.get("before"), value.get("after"), value["source"]


def _flat(value: Row) -> tuple[Any, Row | None, Row | None, Row]:
    row = {name: field for name, field in value.items() if not name.startswith("__")}
    told = {name[2:]: field for name, field in value.items() if name.startswith("__")}
    source = {name.removeprefix("source_"): field for name, field in told.items() if name not in NOT_OF_THE_SOURCE}
    if str(told.get("deleted")).lower() == "true":
        return "d", row, None, source
    return told.get("op"), None, row, source


def _sent(row: Row | None) -> Row | None:
    """Without the long values that an update has left as they were: PostgreSQL does not send them."""
    return {name: value for name, value in row.items() if value != NOT_SENT} if isinstance(row, dict) else None


def _digest(row: Row | None) -> str:
    return blake2b(_text(row).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _text(row: Row | None) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
