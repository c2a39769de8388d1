"""Rate limit: formats of a wait, remaining requests, the reserve of a backfill, a fixed rate."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Window
from connectors.errors import RateLimitedError
from connectors.http.rate_limit import RateLimit, seconds_until

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "90",
        "90.0",
        "Sun, 22 Nov 2026 12:01:30 GMT",
        "2026-11-22T12:01:30Z",
        "2026-11-22T13:01:30+01:00",
        str(int(NOW.timestamp()) + 90),
        str((int(NOW.timestamp()) + 90) * 1_000),
    ],
)
def test_every_format_of_a_wait_is_parsed(text: str) -> None:
    assert seconds_until(text, NOW) == pytest.approx(90)


@given(st.one_of(st.none(), st.text(max_size=40), st.floats().map(str), st.integers().map(str)))
def test_wait_is_never_negative_and_parsing_never_fails(text: str | None) -> None:
    found = seconds_until(text, NOW)
    assert found is None or found >= 0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def seconds_to_wait(rate_limit: RateLimit) -> float:
    """Seconds to wait before the next request; 0 if it was allowed."""
    try:
        rate_limit.acquire()
    except RateLimitedError as error:
        return error.retry_after or 0.0
    return 0.0


@pytest.mark.parametrize("prefix", ["X-RateLimit-", "RateLimit-", "X-Rate-Limit-"])
def test_no_request_passes_when_none_remains_until_the_reset(prefix: str) -> None:
    clock = Clock()
    rate_limit = RateLimit(clock=clock)
    rate_limit.update({f"{prefix}Limit": "100", f"{prefix}Remaining": "2", f"{prefix}Reset": "30"}, NOW)
    assert [seconds_to_wait(rate_limit) for _ in range(3)] == [0, 0, 30]
    clock.now += 30
    assert seconds_to_wait(rate_limit) == 0


def test_reserve_of_a_half_leaves_half_of_the_requests() -> None:
    clock = Clock()
    rate_limit = RateLimit(clock=clock)
    rate_limit.reserve = 0.5
    rate_limit.update({"RateLimit-Limit": "10", "RateLimit-Remaining": "7", "RateLimit-Reset": "30"}, NOW)
    assert [seconds_to_wait(rate_limit) for _ in range(3)] == [0, 0, 30]
    fixed = RateLimit(4, clock)
    fixed.reserve = 0.5
    assert [seconds_to_wait(fixed) for _ in range(3)] == [0, 0, 60]


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.integers(1, 8))
def test_no_minute_has_more_requests_than_the_fixed_rate(pauses: list[float], rate: int) -> None:
    clock = Clock()
    rate_limit = RateLimit(rate, clock)
    made: list[float] = []
    for pause in pauses:
        clock.now += pause
        if waiting := seconds_to_wait(rate_limit):
            clock.now += waiting + 1e-6
            assert seconds_to_wait(rate_limit) == 0
        made.append(clock.now)
    assert all(sum(first <= at < first + 60 for at in made) <= rate for first in made)


def test_progress_within_a_window_is_between_zero_and_one() -> None:
    window = Window(NOW, NOW + timedelta(hours=4))
    assert [window.progress_at(NOW + timedelta(hours=hours), NOW) for hours in (-1, 0, 1, 4, 9)] == [0, 0, 0.25, 1, 1]
    assert Window().progress_at(NOW, NOW) == 0
