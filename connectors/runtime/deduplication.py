"""Deduplication: selects the records of a batch that were not published before.

Each stream remembers the ids that its overlap may bring again, and the last content of its snapshots. The newest part of both is
saved with the cursor. The process holds more, until it ends or Kafka fails to acknowledge a batch. A forgotten record is
published again with the same event id.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from connectors.contract import Phase, StreamSpec
from connectors.runtime.encode import Encoded, EncodedDeadLetter, EncodedTouchpoint, Message
from connectors.runtime.recent_ids import RecentIds
from connectors.runtime.snapshots import Snapshots
from schemas.records.connector_state import ConnectorState
from schemas.records.dead_letter import DeadLetter
from schemas.records.normalisation.refusal import RefusedIdentifier


@dataclass(slots=True)
class NewRecords:
    """New records of one batch: messages and dead letters to publish. Records read = touchpoints + dead letters + repeated.

    `refused` are values of these records that became no identifier. `touchpoint_times` are the source times of the touchpoints,
    in a stream that is read by time. `last_event_at` is the newest event time of a touchpoint, `position_at` the newest source
    time of a new record or of one that was read again.
    """

    touchpoints: list[Message] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    refused: list[RefusedIdentifier] = field(default_factory=list)
    repeated: int = 0
    touchpoint_times: list[datetime] = field(default_factory=list)
    last_event_at: datetime | None = None
    position_at: datetime | None = None

    def add(self, record: Encoded) -> None:
        """Add a record that was not published before."""
        self.refused += record.refused
        if isinstance(record, EncodedDeadLetter):
            self.dead_letters.append(record.dead_letter)
            return
        self.touchpoints.append(record.message)
        if record.source_time:
            self.touchpoint_times.append(record.source_time)
        self.last_event_at = max(self.last_event_at or record.occurred_at, record.occurred_at)


class StreamDeduplication:
    """Deduplication of one stream. `other_ids` are held by streams that may bring the same records: those count as published."""

    def __init__(self, state: ConnectorState | None, spec: StreamSpec, other_ids: AbstractSet[UUID] = frozenset()) -> None:
        self._spec = spec
        self._load(state)
        self.begin_round(other_ids)

    @property
    def is_kept(self) -> bool:
        """True if a later round needs the ids or contents of this round."""
        return bool(self._spec.lookback) or self._spec.is_snapshot

    def begin_round(self, other_ids: AbstractSet[UUID] = frozenset()) -> None:
        """Forget the ids of the previous round that are not part of the overlap."""
        self._other_ids = other_ids
        self._published = self.recent.ids() | other_ids

    def select_new(self, records: Iterable[Encoded], phase: Phase) -> NewRecords:
        """Return the records of a batch that were not published before, and remember them.

        A RESTART forgets everything first. A REPLAY only completes the ids of this round.
        """
        if phase is Phase.RESTART:
            self._load(None)
            self.begin_round()
        new = NewRecords()
        timed: list[tuple[UUID, datetime]] = []
        read_again: list[tuple[UUID, datetime]] = []
        for record in records:
            if record.id in self._published:
                new.repeated += 1
                if record.source_time and isinstance(record, EncodedTouchpoint):
                    read_again.append((record.id, record.source_time))
            elif self._is_unchanged(record):
                new.repeated += 1
            else:
                self._published.add(record.id)
                new.add(record)
                if record.source_time:
                    timed.append((record.id, record.source_time))
        if phase is not Phase.REPLAY:
            self._remember([*timed, *read_again])
        new.position_at = max((at for _, at in (*timed, *read_again)), default=None)
        return new

    def _load(self, state: ConnectorState | None) -> None:
        self.recent = RecentIds((state and state.recent) or b"", self._spec.lookback)
        self.snapshots = Snapshots((state and state.projections) or b"") if self._spec.is_snapshot else None

    def _is_unchanged(self, record: Encoded) -> bool:
        if self.snapshots is None or isinstance(record, EncodedDeadLetter) or record.content is None:
            return False
        return not self.snapshots.update(record.record_key, record.content)

    def _remember(self, records: list[tuple[UUID, datetime]]) -> None:
        if records and self.recent.add(records):
            self._published.intersection_update(self.recent.ids() | self._other_ids)


class Deduplication:
    """Deduplication of all streams of a process."""

    def __init__(self) -> None:
        self._streams: dict[str, StreamDeduplication] = {}

    def open_stream(
        self, name: str, spec: StreamSpec, state: ConnectorState | None, others: Mapping[str, ConnectorState]
    ) -> StreamDeduplication:
        """Return the deduplication of a stream for one round; `others` are the saved states of streams with the same records."""
        other_ids = frozenset[UUID]().union(*(self._recent(each, spec, saved).ids() for each, saved in others.items()))
        if stream := self._streams.get(name):
            stream.begin_round(other_ids)
            return stream
        stream = StreamDeduplication(state, spec, other_ids)
        if stream.is_kept:
            self._streams[name] = stream
        return stream

    def clear(self) -> None:
        """Forget everything that is not saved."""
        self._streams.clear()

    def _recent(self, name: str, spec: StreamSpec, saved: ConnectorState) -> RecentIds:
        stream = self._streams.get(name)
        return stream.recent if stream else RecentIds(saved.recent or b"", spec.lookback)
