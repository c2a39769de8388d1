"""What a stream remembers from batch to batch, kept with its cursor: ids that may come again, and what snapshots said last."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import blake2b
from struct import Struct
from uuid import UUID

from connectors.contract import StreamSpec
from schemas.connector_state import ConnectorState
from schemas.fields import milliseconds
from schemas.touchpoint import Touchpoint

ENTRY = Struct(">16sq")
MOST_IDS = 2_500
SAID = Struct(">8s8s")
MOST_KEYS = 3_750
NOT_SAID = {"event_id", "occurred_at", "received_at"}


class Memory:
    """One stream's memory while it is read. `seen` also holds the ids of this pass where the stream is not read by time.

    `others` are the states of streams that may bring the same records; what they remember is seen, too.
    """

    def __init__(self, state: ConnectorState | None, spec: StreamSpec, others: Iterable[ConnectorState] = ()) -> None:
        self.recent = Recent((state and state.recent) or b"", spec.lookback)
        self.said = Projections((state and state.projections) or b"") if spec.snapshot else None
        self._elsewhere = {one for other in others for one in Recent(other.recent or b"", spec.lookback).ids()}
        self.seen = self.recent.ids() | self._elsewhere

    def learn(self, told: list[tuple[UUID, datetime]]) -> None:
        """Take over what a batch has told or found told, by id and source time, and forget what cannot come again."""
        if told:
            self.recent.learn(told)
            self.seen.intersection_update(self.recent.ids() | self._elsewhere)


class Recent:
    """Ids of the records of the last `lookback` before the newest one, at most 2,500 (60 kB); older ones are forgotten."""

    def __init__(self, packed: bytes, lookback: timedelta) -> None:
        self._lookback = lookback // timedelta(milliseconds=1)
        self._times = {UUID(bytes=name): at for name, at in ENTRY.iter_unpack(packed)}

    def ids(self) -> set[UUID]:
        """The ids at hand."""
        return set(self._times)

    def learn(self, published: Iterable[tuple[UUID, datetime]]) -> None:
        """Add ids with their records' time, and forget what the overlap no longer reaches."""
        self._times.update((name, milliseconds(at)) for name, at in published)
        first = max(self._times.values(), default=0) - self._lookback
        newest = sorted(((at, name) for name, at in self._times.items() if at >= first), reverse=True)[:MOST_IDS]
        self._times = {name: at for at, name in newest}

    def packed(self) -> bytes:
        """24 bytes an id, for the stream's state."""
        return b"".join(ENTRY.pack(name.bytes, at) for name, at in self._times.items())


class Projections:
    """What the last touchpoint of each key said, but for ids and times: of a snapshot only news is published.

    Holds the 3,750 keys that changed last (60 kB); a key that fell out counts as news when it is met again.
    """

    def __init__(self, packed: bytes) -> None:
        self._said = dict(SAID.iter_unpack(packed))

    def news(self, key: str, touchpoint: Touchpoint) -> bool:
        """Whether the touchpoint says anything that the last one of its key did not; it is the last one now."""
        name = _digest(key.encode("utf-8", "surrogatepass"))
        said = _digest(touchpoint.model_dump_json(exclude=NOT_SAID).encode())
        before = self._said.pop(name, None)
        self._said[name] = said
        if len(self._said) > MOST_KEYS:
            del self._said[next(iter(self._said))]
        return bool(said != before)

    def packed(self) -> bytes:
        """16 bytes a key, the one met longest ago first, for the stream's state."""
        return b"".join(SAID.pack(name, said) for name, said in self._said.items())


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()
