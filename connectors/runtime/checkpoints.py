"""Checkpoints of a connector: the cursor and the totals of each stream, saved to Kafka in one message."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from connectors.contract import Batch, Phase
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from connectors.runtime.mode import is_live
from connectors.runtime.publisher import Publisher, save_state
from schemas.records.connector_state import ConnectorState

SAVE_SECONDS = 1.0
FRESH_SECONDS = 30.0


class Checkpoints:
    """States of all streams of a connector. `states` holds the newest state of each stream, saved or pending.

    A batch with a cursor is saved at once. A batch without a cursor (its records are sent to us) has only totals: these are
    saved at most once a second, so a crash may lose up to a second of counts.
    """

    def __init__(self, connector: str, publisher: Publisher, states: Mapping[str, ConnectorState]) -> None:
        self.states = dict(states)
        self.batches = 0
        self._connector = connector
        self._publisher = publisher
        self._pending: dict[str, ConnectorState] = {}
        self._save_at: dict[str, float] = {}
        live = [state for name, state in self.states.items() if is_live(name)]
        self._last_saved = max(live, key=lambda state: state.last_success_at, default=None)
        self._refresh_at = 0.0

    @property
    def last_success_at(self) -> datetime:
        """Time of the newest saved state of live mode; now if there is none."""
        return self._last_saved.last_success_at if self._last_saved else datetime.now(UTC)

    def save_batch(
        self, stream: str, batch: Batch, new: NewRecords, deduplication: StreamDeduplication, *, published_live: int
    ) -> ConnectorState:
        """Save the state of a stream after a published batch, and return it.

        `published_live` of the touchpoints were published by live mode before and count as repeated.
        """
        old = None if batch.phase is Phase.RESTART else self.states.get(stream)
        state = ConnectorState(
            connector=self._connector,
            stream=stream,
            cursor=json.dumps(dict(batch.cursor)),
            read=(old.read if old else 0) + len(batch.records),
            published=(old.published if old else 0) + len(new.touchpoints) - published_live,
            dead_lettered=(old.dead_lettered if old else 0) + len(new.dead_letters),
            repeated=(old.repeated if old else 0) + new.repeated + published_live,
            last_event_at=_newest(old.last_event_at if old else None, new.last_event_at),
            last_success_at=datetime.now(UTC),
            position_at=_newest(old.position_at if old else None, new.position_at),
            recent=deduplication.recent.pack() or None,
            projections=deduplication.snapshots.pack() if deduplication.snapshots else None,
        )
        self._save(state, now=bool(batch.cursor))
        self.states[stream] = state
        self.batches += 1
        return state

    def save_pending(self, *, now: bool = False) -> None:
        """Save the pending states that are due, or all of them."""
        for state in list(self._pending.values()):
            self._save(state, now=now)

    def save_difference(self, stream: str, difference: int) -> None:
        """Save the difference between the source's count and the records read, for a finished backfill."""
        save_state(self._publisher, self.states[stream].model_copy(update={"backfill_difference": difference}))

    def refresh(self) -> None:
        """Save one state again with the current time, if none was saved for 30 seconds.

        One stream stands for all: a connector of files may have thousands.
        """
        if self._last_saved and time.monotonic() >= self._refresh_at:
            state = self.states[self._last_saved.stream].model_copy(update={"last_success_at": datetime.now(UTC)})
            self._save(state, now=True)
            self.states[state.stream] = state

    def _save(self, state: ConnectorState, *, now: bool) -> None:
        if now or time.monotonic() >= self._save_at.get(state.stream, 0.0):
            save_state(self._publisher, state)
            self._save_at[state.stream] = time.monotonic() + SAVE_SECONDS
            self._pending.pop(state.stream, None)
            self._last_saved, self._refresh_at = state, time.monotonic() + FRESH_SECONDS
        else:
            self._pending[state.stream] = state


def _newest(before: datetime | None, after: datetime | None) -> datetime | None:
    return max((at for at in (before, after) if at), default=None)
