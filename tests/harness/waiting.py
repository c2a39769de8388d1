"""Waits for a condition instead of a fixed time."""

import time
from collections.abc import Callable

from sinks.clickhouse import UnavailableError


def eventually(is_true: Callable[[], object], seconds: float = 60, every: float = 0.1) -> None:
    """Return as soon as `is_true()` holds; fail after `seconds`. A ClickHouse that is down counts as not yet true."""
    deadline = time.monotonic() + seconds
    while not _holds(is_true):
        assert time.monotonic() < deadline, f"the condition did not become true within {seconds} s"
        time.sleep(every)


def _holds(is_true: Callable[[], object]) -> bool:
    try:
        return bool(is_true())
    except UnavailableError:
        return False
