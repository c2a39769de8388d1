"""What a run reads, and under which name its state is kept: live reading goes on for ever, a backfill reads one window.

Both may run beside each other, because neither sees nor touches the other's state.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from connectors.contract import Batch, Connector, Phase, Window
from schemas.errors import ConfigError
from schemas.records.connector_state import ConnectorState

BACKFILL = "backfill/"
BACKFILL_RESERVE = 0.5
States = Mapping[str, ConnectorState]


class Reading(Protocol):
    """The two ways to read a connector's streams; `states` are all saved states of its name."""

    def name(self, stream: str) -> str:
        """The name that the stream's state is kept under."""
        ...

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        """The streams to read in this round."""
        ...

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        """The stream's batches from its saved cursor on; from `since`, where that cursor cannot be used any more."""
        ...

    def covers(self, connector: Connector, stream: str, at: datetime) -> bool:
        """Whether another reading has published a record of this source time before."""
        ...


class Live:
    """Goes on where the last run ended; the first one begins at the connector's `start`."""

    def name(self, stream: str) -> str:
        return stream

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        return connector.list_streams({name: _cursor(state) for name, state in states.items() if not name.startswith(BACKFILL)})

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        cursor = _cursor(states[stream]) if stream in states and since is None else None
        return connector.read(stream, cursor, Window(since or connector.start))

    def covers(self, connector: Connector, stream: str, at: datetime) -> bool:
        return False


class Backfill:
    """Reads each timed stream from `start` until where live reading stands, or until now where it has not begun.

    Its cursor is {start, end, cursor, done}: stopped half-way it goes on there, finished it begins anew. What live reading
    has published before is published again under the same ids and counts as repeated.
    """

    def __init__(self, start: datetime, states: States) -> None:
        self.start = start
        self._now = datetime.now(UTC)
        if start >= self._now:
            raise ConfigError(f"--backfill {start:%Y-%m-%d %H:%M}: nothing has happened since then, it lies in the future")
        self._live = {name: state.position_at for name, state in states.items() if state.position_at}
        self.windows: dict[str, Window] = {}
        self._done: set[str] = set()

    def name(self, stream: str) -> str:
        return BACKFILL + stream

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        found = [stream for stream in connector.list_streams({}) if connector.describe_stream(stream).timed]
        if not found:
            raise ConfigError(f"{connector.name}: none of its streams is read by time, so --backfill has nothing to read")
        connector.rate_limit.reserve = BACKFILL_RESERVE
        return [stream for stream in found if stream not in self._done]

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        saved = _cursor(states[self.name(stream)]) if self.name(stream) in states else {}
        goes_on = saved.get("start") == self.start.isoformat() and not saved["done"]
        end = datetime.fromisoformat(saved["end"]) if goes_on else self._live.get(stream) or self._now
        self.windows[stream] = Window(self.start, end)
        told = {"start": self.start.isoformat(), "end": end.isoformat()}
        phase = Phase.NEXT if goes_on else Phase.RESTART
        cursor = saved["cursor"] if goes_on and since is None else None
        for batch in connector.read(stream, cursor, Window(max(since or self.start, self.start), end)):
            cursor = dict(batch.cursor)
            yield replace(batch, cursor={**told, "cursor": cursor, "done": False}, phase=phase)
            phase = Phase.NEXT
        yield Batch((), {**told, "cursor": cursor, "done": True}, phase, 1.0)
        self._done.add(stream)

    def covers(self, connector: Connector, stream: str, at: datetime) -> bool:
        return stream in self._live and (connector.start is None or at >= connector.start)


def _cursor(state: ConnectorState) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(state.cursor)
    return found
