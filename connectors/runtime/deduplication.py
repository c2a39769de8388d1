"""What a stream remembers from round to round: ids that may come again, and what snapshots said last.

What came last of it is saved with the stream's cursor; the process holds more, until it ends or Kafka does not acknowledge.
What was forgotten is published once more, under the same event id.
"""

import logging
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import islice
from struct import Struct
from uuid import UUID

from connectors.contract import StreamSpec
from schemas.records.connector_state import ConnectorState
from schemas.records.fields import milliseconds
from schemas.records.touchpoint import Touchpoint

MOST_HELD = 125_000
ENTRY = Struct(">16sq")
MOST_IDS = 2_500
SAID = Struct(">8s8s")
MOST_KEYS = 3_750
NOT_SAID = {"event_id", "occurred_at", "received_at"}
FULL = "more than %s %s come again and again: those beyond are published once more each time, under the same ids"
log = logging.getLogger(__name__)


class Memory:
    """One stream's memory. `seen` also holds the ids of this pass where the stream is not read by time.

    `elsewhere` are the ids that other streams remember which may bring the same records: those are seen, too.
    """

    def __init__(self, state: ConnectorState | None, spec: StreamSpec, elsewhere: AbstractSet[UUID] = frozenset()) -> None:
        self.lasts = bool(spec.lookback) or spec.snapshot
        self.recent = Recent((state and state.recent) or b"", spec.lookback)
        self.said = Projections((state and state.projections) or b"") if spec.snapshot else None
        self.another_pass(elsewhere)

    def another_pass(self, elsewhere: AbstractSet[UUID]) -> None:
        """The stream is read once more; the ids of the pass before, which are not those of an overlap, are forgotten."""
        self._elsewhere = elsewhere
        self.seen = self.recent.ids() | elsewhere

    def learn(self, told: list[tuple[UUID, datetime]]) -> None:
        """Take over what a batch has told or found told, by id and source time, and forget what cannot come again."""
        if told and self.recent.learn(told):
            self.seen.intersection_update(self.recent.ids() | self._elsewhere)


class Recent:
    """Ids of the records of the last `lookback` before the newest one, some older ones, too: at most 250,000 (60 MB)."""

    def __init__(self, packed: bytes, lookback: timedelta) -> None:
        self._lookback = lookback // timedelta(milliseconds=1)
        self._times = {UUID(bytes=name): at for name, at in ENTRY.iter_unpack(packed)}
        self._newest = max(self._times.values(), default=0)
        self._room = 2 * MOST_IDS

    def ids(self) -> set[UUID]:
        """The ids at hand."""
        return set(self._times)

    def learn(self, published: Iterable[tuple[UUID, datetime]]) -> bool:
        """Add ids with their records' time. Where there are twice as many as last time, forget: then the answer is true."""
        for name, at in published:
            self._times[name] = milliseconds(at)
            self._newest = max(self._newest, self._times[name])
        if len(self._times) <= self._room:
            return False
        kept = list(islice(self._last(), MOST_HELD + 1))
        if len(kept) > MOST_HELD:
            log.warning(FULL, f"{MOST_HELD:,}", "records of an overlap")
        self._times = dict(reversed(kept[:MOST_HELD]))
        self._room = 2 * max(MOST_IDS, len(self._times))
        return True

    def packed(self) -> bytes:
        """Of the 2,500 that came last, 24 bytes each (60 kB), for the stream's state."""
        return b"".join(ENTRY.pack(name.bytes, at) for name, at in reversed(list(islice(self._last(), MOST_IDS))))

    def _last(self) -> Iterator[tuple[UUID, int]]:
        """Those that the overlap reaches, the one that came last first."""
        first = self._newest - self._lookback
        return ((name, at) for name, at in reversed(self._times.items()) if at >= first)


class Projections:
    """What the last touchpoint of each key said, but for ids and times: of a snapshot only news is published.

    Holds 125,000 keys (16 MB); a key that fell out counts as news when it is met again.
    """

    def __init__(self, packed: bytes) -> None:
        self._said = dict(SAID.iter_unpack(packed))
        self._told = False

    def news(self, key: str, touchpoint: Touchpoint) -> bool:
        """Whether the touchpoint says anything that the last one of its key did not; it is the last one now."""
        name = _digest(key.encode("utf-8", "surrogatepass"))
        said = _digest(touchpoint.model_dump_json(exclude=NOT_SAID).encode())
        before = self._said.pop(name, None)
        self._said[name] = said
        if len(self._said) > MOST_HELD:
            self._forget()
        return bool(said != before)

    def _forget(self) -> None:
        del self._said[next(iter(self._said))]
        if not self._told:
            log.warning(FULL, f"{MOST_HELD:,}", "keys of a snapshot")
        self._told = True

    def packed(self) -> bytes:
        """Of the 3,750 keys met last, 16 bytes each (60 kB), the last one last, for the stream's state."""
        last = list(islice(reversed(self._said.items()), MOST_KEYS))
        return b"".join(SAID.pack(name, said) for name, said in reversed(last))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()
