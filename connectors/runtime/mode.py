"""Modes of a run: live mode follows the source without end, backfill mode reads one window of time.

Both modes may run at the same time: each keeps its own states and never writes those of the other.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from connectors.contract import Batch, Connector, Phase, Window
from schemas.errors import ConfigError
from schemas.records.connector_state import ConnectorState

BACKFILL_PREFIX = "backfill/"
BACKFILL_RESERVE = 0.5
States = Mapping[str, ConnectorState]


class Mode(Protocol):
    """A way to read the streams of a connector. `states` holds all saved states of its instance."""

    def state_name(self, stream: str) -> str:
        """Return the name under which the state of a stream is saved."""
        ...

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        """Return the streams to read in this round."""
        ...

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        """Yield the batches after the saved cursor, or from `since` if the source no longer accepts that cursor."""
        ...

    def is_published_live(self, connector: Connector, stream: str, at: datetime) -> bool:
        """Return whether live mode has already published a record of this source time."""
        ...


class LiveMode:
    """Mode that continues from the saved cursors. Its first run begins at the connector's `start`."""

    def state_name(self, stream: str) -> str:
        return stream

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        return connector.list_streams({name: _cursor(state) for name, state in states.items() if is_live(name)})

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        cursor = _cursor(states[stream]) if stream in states and since is None else None
        return connector.read(stream, cursor, Window(since or connector.start))

    def is_published_live(self, connector: Connector, stream: str, at: datetime) -> bool:
        return False


class BackfillMode:
    """Mode that reads each timed stream from `start` to the position of live mode, or to now if live mode has none.

    Its cursor is {start, end, cursor, done}. A stopped backfill continues when it is started with the same date; a finished one
    begins again. Records that live mode has published are published again with the same ids and count as repeated.
    """

    def __init__(self, start: datetime, states: States) -> None:
        self.start = start
        self._now = datetime.now(UTC)
        if start >= self._now:
            raise ConfigError(f"--backfill {start:%Y-%m-%d %H:%M} lies in the future: choose a date in the past")
        self._live = {name: state.position_at for name, state in states.items() if state.position_at}
        self.windows: dict[str, Window] = {}
        self._done: set[str] = set()

    def state_name(self, stream: str) -> str:
        return BACKFILL_PREFIX + stream

    def list_streams(self, connector: Connector, states: States) -> Iterable[str]:
        timed = [stream for stream in connector.list_streams({}) if connector.describe_stream(stream).is_timed]
        if not timed:
            raise ConfigError(f"{connector.name}: none of its streams is read by time: leave out --backfill")
        connector.rate_limit.reserve = BACKFILL_RESERVE
        return [stream for stream in timed if stream not in self._done]

    def read(self, connector: Connector, stream: str, states: States, since: datetime | None = None) -> Iterator[Batch]:
        saved = _cursor(states[self.state_name(stream)]) if self.state_name(stream) in states else {}
        resumes = saved.get("start") == self.start.isoformat() and not saved["done"]
        end = datetime.fromisoformat(saved["end"]) if resumes else self._live.get(stream) or self._now
        self.windows[stream] = Window(self.start, end)
        bounds = {"start": self.start.isoformat(), "end": end.isoformat()}
        phase = Phase.NEXT if resumes else Phase.RESTART
        cursor = saved["cursor"] if resumes and since is None else None
        for batch in connector.read(stream, cursor, Window(max(since or self.start, self.start), end)):
            cursor = dict(batch.cursor)
            yield replace(batch, cursor={**bounds, "cursor": cursor, "done": False}, phase=phase)
            phase = Phase.NEXT
        yield Batch((), {**bounds, "cursor": cursor, "done": True}, phase, 1.0)
        self._done.add(stream)

    def is_published_live(self, connector: Connector, stream: str, at: datetime) -> bool:
        return stream in self._live and (connector.start is None or at >= connector.start)


def is_live(state_name: str) -> bool:
    """Return whether a state belongs to live mode."""
    return not state_name.startswith(BACKFILL_PREFIX)


def _cursor(state: ConnectorState) -> dict[str, Any]:
    cursor: dict[str, Any] = json.loads(state.cursor)
    return cursor
