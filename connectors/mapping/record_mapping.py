"""Mapping of JSON items to records and touchpoints by a connector's `mapping.yaml`, with one entry per stream:

reviews:
  source: social                      # event family
  system: example-reviews             # the product it comes from
  region: DE                          # country of phone numbers without a country code (identifier_settings.py has more)
  columns: [id, changed_at, ...]      # every known field; other fields become attributes
  key: id(id)                         # the item's id in its system; null: hash of the whole item
  version: changed_at                 # version of the item; null: hash of the whole item
  time: iso(changed_at, 'UTC')        # source time that the stream is read by; without it there is no backfill
  late_seconds: 30                    # delay with which the source may show an item: each round reads this far back again
  deleted: deleted                    # true if the source has deleted the item
  snapshot: false                     # true: an item is a state, published only when its mapped content changes
  map: {type: ..., channel: ..., occurred_at: ..., identifiers: {...}, traits: {...}, attributes: {...}}
"""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from connectors.contract import Record, RejectedRecord, StreamSpec
from connectors.mapping.expressions import compile_expression, evaluate
from connectors.mapping.functions import to_identifier, to_text
from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.mapping.touchpoint_mapping import Family, TouchpointMapping
from connectors.settings import describe_validation_error, load_yaml
from schemas.errors import ConfigError, RecordError
from schemas.records.fields import Name
from schemas.records.touchpoint import Touchpoint

MAX_UNKNOWN_ATTRIBUTES = 50
MAX_WARNINGS = 100
MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS = 200, 4_096
log = logging.getLogger(__name__)


class StreamMapping(IdentifierSettings):
    """One entry of a `mapping.yaml`, as described above; entries with a default are optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Family = Field(description="Event family of the touchpoints.")
    system: Name = Field(description="Product that the records come from; part of every event id.")
    columns: list[str] = Field(min_length=1, description="All fields that the mapping knows; others become attributes.")
    key: str | None = Field(description="JMESPath: id of the record in its system; null for a hash of the record.")
    version: str | None = Field(description="JMESPath: version of the record; null for a hash of the record.")
    time: str | None = Field(
        default=None, description="JMESPath: time that the stream is read by; without it there is no backfill."
    )
    late_seconds: float = Field(default=0, ge=0, description="Each round reads this period before its cursor again, in seconds.")
    deleted: str | None = Field(default=None, description="JMESPath: true if the source marks the record as deleted.")
    snapshot: bool = Field(default=False, description="Publish a record only if its touchpoint has changed.")
    map: dict[str, str | dict[str, str]] = Field(description="Field of the event family to JMESPath expression.")


def load_mappings(file: Path, connector: str) -> "dict[str, RecordMapping]":
    """Return the mapping of each stream of the file, for one instance. Raises ConfigError for a mapping that cannot work."""
    streams = load_yaml(file)
    try:
        return {stream: RecordMapping(connector, stream, _parse_stream(stream, mapping)) for stream, mapping in streams.items()}
    except ConfigError as error:
        raise ConfigError(f"{file.parent.name}/{file.name}: {error}") from None


def _parse_stream(stream: str, mapping: Any) -> StreamMapping:
    try:
        return StreamMapping.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(f"{stream}: {describe_validation_error(error, StreamMapping)}") from None


class RecordMapping:
    """Mapping of one stream: `create_record` identifies an item, `map_record` maps it."""

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
            settings=mapping,
        )
        named = {name: getattr(mapping, name) for name in ("key", "version", "time", "deleted")}
        self._expressions = {
            name: compile_expression(text, self._columns, f"{stream}.{name}") for name, text in named.items() if text is not None
        }
        self._logged: set[str] = set()

    def create_records(self, items: Iterable[dict[str, Any]], read_at: datetime) -> list[Record | RejectedRecord]:
        """Return the records of the items of one page."""
        return [self.create_record(item, read_at) for item in items]

    def create_record(self, item: dict[str, Any], read_at: datetime) -> Record | RejectedRecord:
        """Return the item with its key, version and time, or as rejected if one of them is missing or invalid."""
        raw = json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            if not isinstance(item, dict):
                raise RecordError("broken_line", "the item must be one JSON object")
            key, version = self._required(item, "key", raw), self._required(item, "version", raw)
            time = self._value(item, "time")
            if self.spec.is_timed and not isinstance(time, datetime):
                raise RecordError("missing_field", "field time is required, but its expression gives no time")
            is_deleted = bool(self._value(item, "deleted"))
        except RecordError as error:
            return RejectedRecord(raw, len(raw), "-", error)
        return Record(self._stream, key, version, item, raw, key, read_at, time, is_deleted)

    def map_record(self, record: Record) -> Touchpoint:
        """Return the touchpoint of the record, with its unknown fields as attributes. Raises RecordError."""
        data = record.data
        return self._touchpoints.create_touchpoint(record.key, record.version, data, record.read_at, self._unknown_fields(data))

    def _unknown_fields(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Return the fields unknown to the mapping that fit an attribute. Logs each new field once."""
        fields: dict[str, str] = {}
        for name in sorted(data.keys() - self._columns):
            text = to_text(data[name]) if data[name] is not None else ""
            fits = (
                0 < len(name) <= MAX_NAME_CHARACTERS
                and len(text) <= MAX_VALUE_CHARACTERS
                and len(fields) < MAX_UNKNOWN_ATTRIBUTES
            )
            if text and fits:
                fields[name] = text
            if name not in self._logged and len(self._logged) < MAX_WARNINGS:
                self._logged.add(name)
                log.warning("%s: %s: the mapping does not know the field %.100r", self._connector, self._stream, name)
        return fields

    def _value(self, item: dict[str, Any], name: str) -> Any:
        return evaluate(self._expressions[name], item, name) if name in self._expressions else None

    def _required(self, item: dict[str, Any], name: str, raw: bytes) -> str:
        if name not in self._expressions:
            return sha256(raw).hexdigest()
        value = to_identifier(self._value(item, name))
        if value is None:
            raise RecordError("missing_field", f"field {name} is required, but its expression gives no value")
        return value
