"""What Singer and Airbyte call the same things: arguments, catalogs, messages, states. Pure."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from schemas.errors import ConfigError

Entry = dict[str, Any]
"""A stream of a catalog, as the tap has written it."""
NO_CATALOG = "{} gave no catalog: is it a tap that speaks {}? `protocol` says so"


class Row(NamedTuple):
    """A record of one of the tap's streams."""

    stream: str
    data: Any


class State(NamedTuple):
    """Where the tap goes on from, meant for nobody but itself."""

    value: Any


class Said(NamedTuple):
    """What is not for us but for whoever runs the tap; `fix` where it says that the config is wrong."""

    fix: bool = False


Message = Row | State | Said


class Dialect(ABC):
    """One of the two protocols."""

    name: ClassVar[str]
    discover: ClassVar[tuple[str, ...]]
    check: ClassVar[tuple[str, ...]]
    """Empty where `discover` is all the check there is."""
    read: ClassVar[tuple[str, ...]]
    chatty: ClassVar[bool]
    """Whether lines that are no JSON are for whoever runs the tap."""

    def catalog(self, output: bytes, command: str) -> dict[str, Entry]:
        """The streams that the tap has, by name. Raises ConfigError where it is no catalog."""
        try:
            return {str(self.stream(entry)["name"]): entry for entry in self.entries(output)}
        except (ValueError, LookupError, TypeError):
            raise ConfigError(NO_CATALOG.format(command, self.name)) from None

    def fine(self, output: bytes, command: str) -> bool:
        """Whether `check` has found its source. Raises ConfigError where the program speaks something else."""
        told = [one["connectionStatus"] for one in _objects(output) if one.get("type") == "CONNECTION_STATUS"]
        if not told:
            raise ConfigError(NO_CATALOG.format(command, self.name))
        return bool(told[-1].get("status") == "SUCCEEDED")

    @abstractmethod
    def entries(self, output: bytes) -> list[Entry]:
        """The streams of a catalog. Raises ValueError, LookupError, TypeError for what is none."""

    @abstractmethod
    def stream(self, entry: Entry) -> dict[str, Any]:
        """What holds the stream's `name`."""

    @abstractmethod
    def names(self, entry: Entry) -> set[str]:
        """What the stream's rows may be called."""

    @abstractmethod
    def key(self, entry: Entry) -> list[str]:
        """The columns that identify a row; none where the tap knows none."""

    @abstractmethod
    def selected(self, entry: Entry, replication_key: str | None) -> dict[str, Any]:
        """The catalog that asks for this stream alone."""

    @abstractmethod
    def resumed(self, state: Any) -> Any:
        """What the state file holds for the value of a State."""

    @abstractmethod
    def message(self, line: dict[str, Any]) -> Message | None:
        """One line of its output; None where it matters to nobody. Raises ConfigError for what cannot be left out."""


class Singer(Dialect):
    """Singer's specification 0.3, with catalogs."""

    name = "singer"
    discover = ("--discover",)
    check = ()
    read = ()
    chatty = False

    def entries(self, output: bytes) -> list[Entry]:
        found: list[Entry] = json.loads(output)["streams"]
        return found

    def stream(self, entry: Entry) -> dict[str, Any]:
        return {"name": entry.get("tap_stream_id") or entry["stream"]}

    def names(self, entry: Entry) -> set[str]:
        return {str(entry[name]) for name in ("tap_stream_id", "stream", "stream_alias") if entry.get(name)}

    def key(self, entry: Entry) -> list[str]:
        told = [one["metadata"].get("table-key-properties") for one in entry.get("metadata", []) if one["breadcrumb"] == []]
        return list(entry.get("key_properties") or next(filter(None, told), []))

    def selected(self, entry: Entry, replication_key: str | None) -> dict[str, Any]:
        chosen: dict[str, Any] = {"selected": True}
        if replication_key:
            chosen |= {"replication-method": "INCREMENTAL", "replication-key": replication_key}
        metadata = [one for one in entry.get("metadata", []) if one["breadcrumb"]]
        own: dict[str, Any] = next((one["metadata"] for one in entry.get("metadata", []) if not one["breadcrumb"]), {})
        columns = [{**one, "metadata": {**one["metadata"], **_wanted(one["metadata"])}} for one in metadata]
        return {"streams": [{**entry, "metadata": [{"breadcrumb": [], "metadata": {**own, **chosen}}, *columns]}]}

    def resumed(self, state: Any) -> Any:
        return state

    def message(self, line: dict[str, Any]) -> Message | None:
        kind = line.get("type")
        if kind == "RECORD":
            return Row(line["stream"], line["record"])
        if kind == "BATCH":
            raise ConfigError("the tap hands over files (BATCH), which are not read: leave batch_config out of its config")
        return State(line["value"]) if kind == "STATE" else None


class Airbyte(Dialect):
    """The Airbyte protocol's source."""

    name = "airbyte"
    discover = ("discover",)
    check = ("check",)
    read = ("read",)
    chatty = True

    def entries(self, output: bytes) -> list[Entry]:
        (found,) = [one["catalog"]["streams"] for one in _objects(output) if one.get("type") == "CATALOG"]
        return list(found)

    def stream(self, entry: Entry) -> dict[str, Any]:
        return entry

    def names(self, entry: Entry) -> set[str]:
        return {str(entry["name"])}

    def key(self, entry: Entry) -> list[str]:
        paths = entry.get("source_defined_primary_key") or []
        return [path[0] for path in paths if len(path) == 1] if all(len(path) == 1 for path in paths) else []

    def selected(self, entry: Entry, replication_key: str | None) -> dict[str, Any]:
        incremental = "incremental" in entry.get("supported_sync_modes", [])
        cursor = [replication_key] if replication_key else entry.get("default_cursor_field") or []
        chosen = {
            "stream": entry,
            "sync_mode": "incremental" if incremental else "full_refresh",
            "destination_sync_mode": "append",
            "cursor_field": cursor,
        }
        return {"streams": [chosen]}

    def resumed(self, state: Any) -> Any:
        return state.get("data", {}) if state.get("type") in (None, "LEGACY") else [state]

    def message(self, line: dict[str, Any]) -> Message | None:
        kind = line.get("type")
        if kind == "RECORD":
            return Row(line["record"]["stream"], line["record"]["data"])
        if kind == "STATE":
            return State(line["state"])
        if kind == "TRACE":
            return Said(line["trace"].get("error", {}).get("failure_type") == "config_error")
        return Said() if kind in ("LOG", "CONNECTION_STATUS") else None


def _wanted(metadata: dict[str, Any]) -> dict[str, bool]:
    """A column's selection: all that the tap can read."""
    return {} if metadata.get("inclusion") == "unsupported" else {"selected": True}


def _objects(output: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines; Airbyte takes all others for something to be logged."""
    for line in output.splitlines():
        if line.startswith(b"{"):
            found = json.loads(line)
            yield found


DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Singer(), Airbyte())}
