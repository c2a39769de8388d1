"""Rate limit of one account: known from the source's response headers, or a fixed number of requests per minute.

A rate limit never sleeps. It raises RateLimitedError and the runner waits, because only the runner can be stopped meanwhile.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connectors.errors import RateLimitedError

MINUTE_SECONDS = 60.0
MIN_EPOCH_SECONDS = 1_000_000_000
"""A smaller number is a duration, a larger one a time since 1970."""
MIN_EPOCH_MILLISECONDS = 1_000_000_000_000
PREFIXES = ("X-RateLimit-", "RateLimit-", "X-Rate-Limit-")


class RateLimit:
    """Requests that the account still allows. `reserve` is the share left to other processes; a backfill leaves half."""

    def __init__(self, per_minute: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.reserve = 0.0
        self._per_minute = per_minute
        self._clock = clock
        self._requests: deque[float] = deque()
        self._blocked_until = 0.0
        self._remaining = self._limit = 0
        self._reset_at = 0.0

    def acquire(self) -> None:
        """Count one request. Raises RateLimitedError if the limit is reached."""
        now = self._clock()
        seconds = max(self._blocked_until - now, self._seconds_to_reset(now), self._seconds_to_room(now))
        if seconds > 0:
            raise RateLimitedError("the rate limit of the source is reached", seconds)
        self._remaining -= 1
        if self._per_minute:
            self._requests.append(now)

    def block(self, seconds: float) -> None:
        """Allow no request for `seconds`, as the source asked."""
        self._blocked_until = self._clock() + seconds

    def update(self, headers: Mapping[str, str], at: datetime) -> None:
        """Read the limit, the remaining requests and their reset from response headers; `at` is the source's own time."""
        for prefix in PREFIXES:
            remaining, limit = headers.get(f"{prefix}Remaining", ""), headers.get(f"{prefix}Limit", "")
            seconds = seconds_until(headers.get(f"{prefix}Reset"), at)
            if remaining.isdigit() and seconds is not None:
                self._remaining, self._limit = int(remaining), int(limit) if limit.isdigit() else 0
                self._reset_at = self._clock() + seconds
                return

    def _seconds_to_reset(self, now: float) -> float:
        return self._reset_at - now if self._remaining <= self._limit * self.reserve else 0.0

    def _seconds_to_room(self, now: float) -> float:
        if not self._per_minute:
            return 0.0
        while self._requests and self._requests[0] <= now - MINUTE_SECONDS:
            self._requests.popleft()
        is_full = len(self._requests) >= max(1, int(self._per_minute * (1 - self.reserve)))
        return self._requests[0] + MINUTE_SECONDS - now if is_full else 0.0


def seconds_until(text: str | None, at: datetime) -> float | None:
    """Return the seconds from `at` to the time in a Retry-After or reset header, or None if the header holds no time.

    Sources send seconds, an HTTP date, an ISO 8601 time, or seconds or milliseconds since 1970.
    """
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        moment = _parse_time(text)
        return max(0.0, (moment - at).total_seconds()) if moment else None
    if not 0 <= number < MIN_EPOCH_MILLISECONDS * 10:
        return None
    if number < MIN_EPOCH_SECONDS:
        return number
    return max(0.0, (number / 1_000 if number >= MIN_EPOCH_MILLISECONDS else number) - at.timestamp())


def _parse_time(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
