"""How many events one key may send: so many a minute, and as many at once."""

import time
from collections.abc import Callable

MINUTE = 60.0


class Quota:
    """A bucket that fills by `per_minute` a minute. A batch may take more than is left in it: the next one waits the longer."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left, self._at = float(per_minute), clock()

    def take(self, events: int) -> float:
        """Count the events and return 0, or count none and return the seconds after which there is room again."""
        now = self._clock()
        self._left = min(self._per_minute, self._left + (now - self._at) * self._per_minute / MINUTE)
        self._at = now
        if self._left < 1:
            return (1 - self._left) * MINUTE / self._per_minute
        self._left -= events
        return 0.0
