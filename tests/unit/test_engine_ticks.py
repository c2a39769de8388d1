"""Which ticks are sent, without a broker: each boundary once, each with the one before it, whoever sends and whenever."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.codec import decode
from schemas.wire.topics import TICKS
from streams.engine.ticks import latest_boundary, make_missing_tick

HOUR = 3_600
BY_HAND = st.integers(0, 20_000_000)


def fields(output: Any) -> dict[str, Any]:
    assert (output.topic, output.partition) == (TICKS, 3)
    return decode(output.value)[1]


@given(st.integers(0, 2**42), st.integers(1, 100_000))
def test_a_boundary_is_the_last_full_interval_for_all_clocks_within_it(now: int, seconds: int) -> None:
    at = latest_boundary(now, seconds)
    assert at % (seconds * 1000) == 0
    assert at <= now < at + seconds * 1000
    assert latest_boundary(at, seconds) == latest_boundary(at + seconds * 1000 - 1, seconds) == at


@given(st.lists(st.tuples(st.integers(0, 4_000_000), st.none() | BY_HAND), max_size=40))
def test_each_boundary_is_in_the_log_once_and_names_the_tick_before_it(steps: Sequence[tuple[int, int | None]]) -> None:
    """Time passes, anyone looks at the log and sends what is due, and now and then a person ticks at some other time."""
    now, log, sent = 0, [], []
    for passed, by_hand in steps:
        now += passed
        if by_hand is not None:
            log.append(by_hand)
        before = list(log)
        found = make_missing_tick(latest_boundary(now, HOUR), before, 3)
        if found is not None:
            at, since = fields(found)["at"], fields(found)["since"]
            assert since == max((each for each in before if each < at), default=None)
            log.append(at)
            sent.append(at)
        assert latest_boundary(now, HOUR) in log
    assert len(sent) == len(set(sent))
    assert sent == sorted(sent)


def test_boundaries_that_were_missed_are_not_made_up_for() -> None:
    found = make_missing_tick(latest_boundary(10 * HOUR * 1000 + 5, HOUR), [HOUR * 1000, 2 * HOUR * 1000], 3)
    assert found is not None
    assert fields(found) == {"at": 10 * HOUR * 1000, "since": 2 * HOUR * 1000}
