"""Event ids and letter ids of a stream's overlap: the records that the next round may read again."""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from struct import Struct
from uuid import UUID

from schemas.records.fields import milliseconds

MAX_HELD_IDS = 125_000
MAX_SAVED_IDS = 2_500
ENTRY = Struct(">16sq")
log = logging.getLogger(__name__)


class RecentIds:
    """Ids of the records of the last `lookback` before the newest one, and some older ids: at most 250,000 (60 MB)."""

    def __init__(self, packed: bytes, lookback: timedelta) -> None:
        self._lookback = lookback // timedelta(milliseconds=1)
        self._times = {UUID(bytes=name): at for name, at in ENTRY.iter_unpack(packed)}
        self._newest = max(self._times.values(), default=0)
        self._room = 2 * MAX_SAVED_IDS

    def ids(self) -> set[UUID]:
        """Return all ids held."""
        return set(self._times)

    def add(self, records: Iterable[tuple[UUID, datetime]]) -> bool:
        """Add ids with the source time of their record. Return whether older ids were dropped to make room."""
        for name, at in records:
            self._times[name] = milliseconds(at)
            self._newest = max(self._newest, self._times[name])
        if len(self._times) <= self._room:
            return False
        kept = list(islice(self._overlap(), MAX_HELD_IDS + 1))
        if len(kept) > MAX_HELD_IDS:
            text = (
                "the overlap holds more than %s records: each round publishes the oldest of them again, with the same event ids"
            )
            log.warning(text, f"{MAX_HELD_IDS:,}")
        self._times = dict(reversed(kept[:MAX_HELD_IDS]))
        self._room = 2 * max(MAX_SAVED_IDS, len(self._times))
        return True

    def pack(self) -> bytes:
        """Return the 2,500 ids added last, 24 bytes each (60 kB), for the state of the stream."""
        return b"".join(ENTRY.pack(name.bytes, at) for name, at in reversed(list(islice(self._overlap(), MAX_SAVED_IDS))))

    def _overlap(self) -> Iterator[tuple[UUID, int]]:
        """Yield the ids within the overlap, the one added last first."""
        first = self._newest - self._lookback
        return ((name, at) for name, at in reversed(self._times.items()) if at >= first)
