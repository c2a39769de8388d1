"""The event ids a stream may meet again because it reads an overlap: kept with its cursor, so that `repeated` stays exact."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from struct import Struct
from uuid import UUID

from schemas.fields import milliseconds

ENTRY = Struct(">16sq")
MOST = 2_500


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
        newest = sorted(((at, name) for name, at in self._times.items() if at >= first), reverse=True)[:MOST]
        self._times = {name: at for at, name in newest}

    def packed(self) -> bytes:
        """24 bytes an id, for the stream's state."""
        return b"".join(ENTRY.pack(name.bytes, at) for name, at in self._times.items())
