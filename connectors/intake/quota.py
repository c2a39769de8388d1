"""Token bucket that limits the events per minute of one key; its burst is one minute's events."""

import time
from collections.abc import Callable

MINUTE_SECONDS = 60.0


class Quota:
    """A bucket that fills by `per_minute` per minute. A batch may overdraw it; the next batch then waits longer."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left, self._at = float(per_minute), clock()

    def consume(self, events: int) -> float:
        """Consume the events and return 0, or consume nothing and return the seconds to wait."""
        now = self._clock()
        self._left = min(self._per_minute, self._left + (now - self._at) * self._per_minute / MINUTE_SECONDS)
        self._at = now
        if self._left < 1:
            return (1 - self._left) * MINUTE_SECONDS / self._per_minute
        self._left -= events
        return 0.0
