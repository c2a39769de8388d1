"""The rate that one account of a source allows: kept from what the source's answers tell, and from a fixed rate where it has one.

A budget never sleeps. Whoever has to wait gets a RateLimitedError, and the runner waits: it can be told to stop meanwhile.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connectors.errors import RateLimitedError

MINUTE = 60.0
EPOCH_SECONDS = 1_000_000_000
EPOCH_MILLISECONDS = 1_000_000_000_000
PREFIXES = ("X-RateLimit-", "RateLimit-", "X-Rate-Limit-")


class RateLimit:
    """Requests that may still be made. `reserve` is the share left to others: a backfill leaves half to live reading."""

    def __init__(self, per_minute: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.reserve = 0.0
        self._per_minute = per_minute
        self._clock = clock
        self._asked: deque[float] = deque()
        self._blocked = 0.0
        self._left = self._limit = 0
        self._renewed = 0.0

    def acquire(self) -> None:
        """Count one request. Raises RateLimitedError when it would be one too many."""
        now = self._clock()
        seconds = max(self._blocked - now, self._until_renewed(now), self._until_room(now))
        if seconds > 0:
            raise RateLimitedError("the source's rate is used up", seconds)
        self._left -= 1
        if self._per_minute:
            self._asked.append(now)

    def block(self, seconds: float) -> None:
        """The source has said to ask nothing for so long."""
        self._blocked = self._clock() + seconds

    def update(self, headers: Mapping[str, str], at: datetime) -> None:
        """Take over what an answer of `at`, the source's own clock, says of limit, remaining requests and their renewal."""
        for prefix in PREFIXES:
            left, limit = headers.get(f"{prefix}Remaining", ""), headers.get(f"{prefix}Limit", "")
            seconds = seconds_until(headers.get(f"{prefix}Reset"), at)
            if left.isdigit() and seconds is not None:
                self._left, self._limit = int(left), int(limit) if limit.isdigit() else 0
                self._renewed = self._clock() + seconds
                return

    def _until_renewed(self, now: float) -> float:
        return self._renewed - now if self._left <= self._limit * self.reserve else 0.0

    def _until_room(self, now: float) -> float:
        if not self._per_minute:
            return 0.0
        while self._asked and self._asked[0] <= now - MINUTE:
            self._asked.popleft()
        full = len(self._asked) >= max(1, int(self._per_minute * (1 - self.reserve)))
        return self._asked[0] + MINUTE - now if full else 0.0


def seconds_until(text: str | None, at: datetime) -> float | None:
    """Seconds from `at` to what a Retry-After or reset header names; None where it names nothing that can be read.

    Seconds, an HTTP date, an ISO 8601 time, or seconds or milliseconds since 1970: sources use all of them.
    """
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        moment = _moment(text)
        return max(0.0, (moment - at).total_seconds()) if moment else None
    if not 0 <= number < EPOCH_MILLISECONDS * 10:
        return None
    if number < EPOCH_SECONDS:
        return number
    return max(0.0, (number / 1_000 if number >= EPOCH_MILLISECONDS else number) - at.timestamp())


def _moment(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = parse(text)
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
