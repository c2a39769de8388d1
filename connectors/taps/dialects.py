"""The protocols Singer and Airbyte: arguments, catalogs, messages, states. Pure."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from schemas.errors import ConfigError

CatalogEntry = dict[str, Any]
"""A stream of a catalog in the tap's format."""
NO_CATALOG = "{} returned no catalog: is it a tap of the protocol {}, as `protocol` states?"


class Row(NamedTuple):
    """A record of one of the tap's streams."""

    stream: str
    data: Any


class State(NamedTuple):
    """The position of the tap, which only the tap can interpret."""

    value: Any


class LogMessage(NamedTuple):
    """A message for the operator of the tap."""

    is_config_error: bool = False


Message = Row | State | LogMessage


class Dialect(ABC):
    """One of the two protocols."""

    name: ClassVar[str]
    discover: ClassVar[tuple[str, ...]]
    check: ClassVar[tuple[str, ...]]
    """Empty if `discover` is the only check."""
    read: ClassVar[tuple[str, ...]]
    has_log_lines: ClassVar[bool]
    """True if lines without JSON are log lines."""

    def parse_catalog(self, output: bytes, command: str) -> dict[str, CatalogEntry]:
        """Return the tap's streams by name. Raises ConfigError if the output is not a catalog."""
        try:
            return {self.stream_name(entry): entry for entry in self.parse_entries(output)}
        except (ValueError, LookupError, TypeError):
            raise ConfigError(NO_CATALOG.format(command, self.name)) from None

    def check_succeeded(self, output: bytes, command: str) -> bool:
        """Return whether `check` reached the source. Raises ConfigError if the program uses another protocol."""
        statuses = [one["connectionStatus"] for one in _parse_objects(output) if one.get("type") == "CONNECTION_STATUS"]
        if not statuses:
            raise ConfigError(NO_CATALOG.format(command, self.name))
        return bool(statuses[-1].get("status") == "SUCCEEDED")

    @abstractmethod
    def parse_entries(self, output: bytes) -> list[CatalogEntry]:
        """Return the streams of a catalog. Raises ValueError, LookupError or TypeError for other output."""

    @abstractmethod
    def stream_name(self, entry: CatalogEntry) -> str:
        """Return the name of the stream in the catalog."""

    @abstractmethod
    def list_names(self, entry: CatalogEntry) -> set[str]:
        """Return the stream names that rows of this stream may have."""

    @abstractmethod
    def list_key_columns(self, entry: CatalogEntry) -> list[str]:
        """Return the columns that identify a row; empty if the tap defines none."""

    @abstractmethod
    def build_catalog(self, entry: CatalogEntry, replication_key: str | None) -> dict[str, Any]:
        """Return the catalog that selects only this stream."""

    @abstractmethod
    def build_state(self, state: Any) -> Any:
        """Return the content of the state file for the value of a State."""

    @abstractmethod
    def parse_message(self, line: dict[str, Any]) -> Message | None:
        """Return the message of an output line; None for an irrelevant one. Raises ConfigError for an unsupported one."""


class Singer(Dialect):
    """Singer's specification 0.3 with catalogs."""

    name = "singer"
    discover = ("--discover",)
    check = ()
    read = ()
    has_log_lines = False

    def parse_entries(self, output: bytes) -> list[CatalogEntry]:
        entries: list[CatalogEntry] = json.loads(output)["streams"]
        return entries

    def stream_name(self, entry: CatalogEntry) -> str:
        return str(entry.get("tap_stream_id") or entry["stream"])

    def list_names(self, entry: CatalogEntry) -> set[str]:
        return {str(entry[name]) for name in ("tap_stream_id", "stream", "stream_alias") if entry.get(name)}

    def list_key_columns(self, entry: CatalogEntry) -> list[str]:
        keys = [one["metadata"].get("table-key-properties") for one in entry.get("metadata", []) if one["breadcrumb"] == []]
        return list(entry.get("key_properties") or next(filter(None, keys), []))

    def build_catalog(self, entry: CatalogEntry, replication_key: str | None) -> dict[str, Any]:
        chosen: dict[str, Any] = {"selected": True}
        if replication_key:
            chosen |= {"replication-method": "INCREMENTAL", "replication-key": replication_key}
        metadata = [one for one in entry.get("metadata", []) if one["breadcrumb"]]
        own: dict[str, Any] = next((one["metadata"] for one in entry.get("metadata", []) if not one["breadcrumb"]), {})
        columns = [{**one, "metadata": {**one["metadata"], **_select_column(one["metadata"])}} for one in metadata]
        return {"streams": [{**entry, "metadata": [{"breadcrumb": [], "metadata": {**own, **chosen}}, *columns]}]}

    def build_state(self, state: Any) -> Any:
        return state

    def parse_message(self, line: dict[str, Any]) -> Message | None:
        kind = line.get("type")
        if kind == "RECORD":
            return Row(line["stream"], line["record"])
        if kind == "BATCH":
            raise ConfigError(
                "the tap sends files (BATCH), which the connector does not read: remove batch_config from its config"
            )
        return State(line["value"]) if kind == "STATE" else None


class Airbyte(Dialect):
    """A source of the Airbyte protocol."""

    name = "airbyte"
    discover = ("discover",)
    check = ("check",)
    read = ("read",)
    has_log_lines = True

    def parse_entries(self, output: bytes) -> list[CatalogEntry]:
        (streams,) = [one["catalog"]["streams"] for one in _parse_objects(output) if one.get("type") == "CATALOG"]
        return list(streams)

    def stream_name(self, entry: CatalogEntry) -> str:
        return str(entry["name"])

    def list_names(self, entry: CatalogEntry) -> set[str]:
        return {str(entry["name"])}

    def list_key_columns(self, entry: CatalogEntry) -> list[str]:
        paths = entry.get("source_defined_primary_key") or []
        return [path[0] for path in paths if len(path) == 1] if all(len(path) == 1 for path in paths) else []

    def build_catalog(self, entry: CatalogEntry, replication_key: str | None) -> dict[str, Any]:
        incremental = "incremental" in entry.get("supported_sync_modes", [])
        cursor = [replication_key] if replication_key else entry.get("default_cursor_field") or []
        chosen = {
            "stream": entry,
            "sync_mode": "incremental" if incremental else "full_refresh",
            "destination_sync_mode": "append",
            "cursor_field": cursor,
        }
        return {"streams": [chosen]}

    def build_state(self, state: Any) -> Any:
        return state.get("data", {}) if state.get("type") in (None, "LEGACY") else [state]

    def parse_message(self, line: dict[str, Any]) -> Message | None:
        kind = line.get("type")
        if kind == "RECORD":
            return Row(line["record"]["stream"], line["record"]["data"])
        if kind == "STATE":
            return State(line["state"])
        if kind == "TRACE":
            return LogMessage(line["trace"].get("error", {}).get("failure_type") == "config_error")
        return LogMessage() if kind in ("LOG", "CONNECTION_STATUS") else None


def _select_column(metadata: dict[str, Any]) -> dict[str, bool]:
    """Return the metadata that selects a column if the tap can read it."""
    return {} if metadata.get("inclusion") == "unsupported" else {"selected": True}


def _parse_objects(output: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among the lines; in the Airbyte protocol the other lines are logs."""
    for line in output.splitlines():
        if line.startswith(b"{"):
            message = json.loads(line)
            yield message


DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Singer(), Airbyte())}
