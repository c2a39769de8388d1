"""Waits for a service at start, with a line every ten seconds, instead of an end."""

import time
from collections.abc import Callable
from typing import TypeVar

from schemas.errors import RetryableError

RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0
T = TypeVar("T")


def wait_for(service: str, attempt: Callable[[], T], report: Callable[[str], None], seconds: float | None = None) -> T:
    """Call `attempt` until it raises no RetryableError, and return its result.

    `service` holds name and address, as in "Kafka at 127.0.0.1:9092". Raises RetryableError after `seconds`; None waits without
    limit. Any other error of `attempt`, such as wrong credentials, is raised at once.
    """
    began = time.monotonic()
    next_report = began
    while True:
        try:
            return attempt()
        except RetryableError as error:
            now = time.monotonic()
            reason = str(error).removeprefix(f"{service}: ").removeprefix(f"{service} ")
            if seconds is not None and now - began >= seconds:
                raise RetryableError(f"{service} did not answer within {seconds:.0f} s: {reason}") from error
            if now >= next_report:
                report(f"waiting for {service} ({now - began:.0f} s): {reason}")
                next_report = max(next_report + REPORT_SECONDS, now)
        time.sleep(RETRY_SECONDS)
