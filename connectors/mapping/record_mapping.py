"""JSON items of a source as records and touchpoints, by the connector's `mapping.yaml`: one entry per stream, no Python.

reviews:
  source: social                      # event family
  system: example-reviews             # the product it comes from
  columns: [id, changed_at, ...]      # every field that is known; others are carried as attributes
  key: id(id)                         # the item's id in its system; null: the whole item, by its hash
  version: changed_at                 # which version of it; null: the whole item, by its hash
  time: iso(changed_at, 'UTC')        # what the stream is read by; without it there is no backfill
  late_seconds: 30                    # how late the source may show an item: each round reads so far back again
  deleted: deleted                    # true where the source has taken it back
  snapshot: false                     # true: an item is a state, published only when its touchpoint says something new
  map: {type: ..., channel: ..., occurred_at: ..., identifiers: {...}, attributes: {...}}
"""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.contract import Record, RejectedRecord, StreamSpec
from connectors.mapping.expressions import compile_expression, evaluate
from connectors.mapping.functions import to_identifier, to_text
from connectors.mapping.touchpoint_mapping import Family, TouchpointMapping
from connectors.settings import describe_validation_error, load_yaml
from schemas.errors import ConfigError, RecordError
from schemas.records.fields import Name
from schemas.records.touchpoint import Touchpoint

MOST_ATTRIBUTES = 100
LONGEST_NAME, LONGEST_VALUE = 200, 4_096
log = logging.getLogger(__name__)


class StreamMapping(BaseModel):
    """One stream of a `mapping.yaml`, as above; the entries with a default may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Family
    system: Name
    columns: list[str] = Field(min_length=1)
    key: str | None
    version: str | None
    time: str | None = None
    late_seconds: float = Field(default=0, ge=0)
    deleted: str | None = None
    snapshot: bool = False
    map: dict[str, str | dict[str, str]]


def load_mappings(file: Path, connector: str) -> "dict[str, RecordMapping]":
    """The streams of a mapping file, made ready for one instance. Raises ConfigError where a mapping cannot work."""
    found = load_yaml(file)
    try:
        return {stream: RecordMapping(connector, stream, _stream(stream, mapping)) for stream, mapping in found.items()}
    except ConfigError as error:
        raise ConfigError(f"{file.parent.name}/{file.name}: {error}") from None


def _stream(stream: str, mapping: Any) -> StreamMapping:
    try:
        return StreamMapping.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(f"{stream}: {describe_validation_error(error, StreamMapping)}") from None


class RecordMapping:
    """One stream's items: `record` gives one its identity, `touchpoint` maps it."""

    def __init__(self, connector: str, stream: str, mapping: StreamMapping) -> None:
        self.spec = StreamSpec(
            mapping.source,
            deletes="soft" if mapping.deleted else "none",
            lookback=timedelta(seconds=mapping.late_seconds),
            is_timed=mapping.time is not None,
            is_snapshot=mapping.snapshot,
        )
        self.mapping = mapping
        self._stream = stream
        self._connector = connector
        self._columns = frozenset(mapping.columns)
        self._touchpoints = TouchpointMapping(
            connector=connector,
            feed=stream,
            where=f"{stream}.map",
            source=mapping.source,
            system=mapping.system,
            columns=self._columns,
            fields=mapping.map,
        )
        named = {name: getattr(mapping, name) for name in ("key", "version", "time", "deleted")}
        self._own = {
            name: compile_expression(text, self._columns, f"{stream}.{name}") for name, text in named.items() if text is not None
        }
        self._told: set[str] = set()

    def create_records(self, items: Iterable[dict[str, Any]], read_at: datetime) -> list[Record | RejectedRecord]:
        """The items of one page."""
        return [self.create_record(item, read_at) for item in items]

    def create_record(self, item: dict[str, Any], read_at: datetime) -> Record | RejectedRecord:
        """The item with its identity; refused where it has none."""
        raw = json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            if not isinstance(item, dict):
                raise RecordError("broken_line", "the item must be one JSON object")
            key, version = self._required(item, "key", raw), self._required(item, "version", raw)
            time = self._value(item, "time")
            if self.spec.is_timed and not isinstance(time, datetime):
                raise RecordError("missing_field", "field time is required and its expression gives no time")
        except RecordError as error:
            return RejectedRecord(raw, len(raw), "-", error)
        return Record(self._stream, key, version, item, raw, key, read_at, time, bool(self._value(item, "deleted")))

    def map_record(self, record: Record) -> Touchpoint:
        """The record mapped, with its unknown fields as attributes. Raises RecordError."""
        data = record.data
        return self._touchpoints.create_touchpoint(record.key, record.version, data, record.read_at, self._unknown(data))

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, str]:
        """What the mapping does not know of, as far as an attribute can hold it; each new field is one line in the log."""
        found: dict[str, str] = {}
        for name in sorted(data.keys() - self._columns):
            text = to_text(data[name]) if data[name] is not None else ""
            fits = 0 < len(name) <= LONGEST_NAME and len(text) <= LONGEST_VALUE and len(found) < MOST_ATTRIBUTES // 2
            if text and fits:
                found[name] = text
            if name not in self._told and len(self._told) < MOST_ATTRIBUTES:
                self._told.add(name)
                log.warning("%s: %s: the mapping does not know the field %.100r", self._connector, self._stream, name)
        return found

    def _value(self, item: dict[str, Any], name: str) -> Any:
        return evaluate(self._own[name], item, name) if name in self._own else None

    def _required(self, item: dict[str, Any], name: str, raw: bytes) -> str:
        if name not in self._own:
            return sha256(raw).hexdigest()
        found = to_identifier(self._value(item, name))
        if found is None:
            raise RecordError("missing_field", f"field {name} is required and nothing came of its expression")
        return found
