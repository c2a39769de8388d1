"""Pauses between the rounds of a connector that failed."""

import logging
import random
import threading

from connectors.errors import RateLimitedError
from schemas.errors import RetryableError
from schemas.service.telemetry import CONNECTOR_RETRIES

BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
log = logging.getLogger(__name__)


class Backoff:
    """Counter of consecutive failures, and the pause after each one. A rate limit pauses but counts as no failure."""

    def __init__(self, connector: str, stop: threading.Event) -> None:
        self.failures = 0
        self._connector = connector
        self._stop = stop

    def reset(self) -> None:
        """Start counting from zero."""
        self.failures = 0

    def count(self, error: RetryableError) -> None:
        """Count one failed round."""
        self.failures += not isinstance(error, RateLimitedError)

    def pause(self, error: RetryableError) -> None:
        """Wait a random time (full jitter), at least the error's `retry_after`. The upper bound doubles with each failure."""
        longest = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**self.failures)
        seconds = max(error.retry_after or 0.0, random.uniform(0, longest))  # noqa: S311 - jitter, no secret
        limited = isinstance(error, RateLimitedError)
        CONNECTOR_RETRIES.labels(self._connector, "rate" if limited else "failure").inc()
        level = logging.INFO if limited and seconds <= MAX_BACKOFF_SECONDS else logging.WARNING
        log.log(level, "%s: %s; retrying in %.1f s", self._connector, error, seconds)
        self._stop.wait(seconds)
