"""Ticks without a broker: each boundary has one tick, which names the one before it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.codec import decode
from schemas.wire.topics import TICKS
from streams.engine.ticks import latest_boundary, make_missing_tick

HOUR = 3_600
MANUAL = st.integers(0, 20_000_000)


def fields(output: Any) -> dict[str, Any]:
    assert (output.topic, output.partition) == (TICKS, 3)
    return decode(output.value)[1]


@given(st.integers(0, 2**42), st.integers(1, 100_000))
def test_boundary_is_the_same_for_all_times_of_its_interval(now: int, seconds: int) -> None:
    at = latest_boundary(now, seconds)
    assert at % (seconds * 1000) == 0
    assert at <= now < at + seconds * 1000
    assert latest_boundary(at, seconds) == latest_boundary(at + seconds * 1000 - 1, seconds) == at


@given(st.lists(st.tuples(st.integers(0, 4_000_000), st.none() | MANUAL), max_size=40))
def test_each_boundary_is_logged_once_and_names_the_tick_before_it(steps: Sequence[tuple[int, int | None]]) -> None:
    """Time passes; a worker reads the log and sends the missing tick. Sometimes a person sends a tick at another time."""
    now, log, sent = 0, [], []
    for passed, manual in steps:
        now += passed
        if manual is not None:
            log.append(manual)
        before = list(log)
        tick = make_missing_tick(latest_boundary(now, HOUR), before, 3)
        if tick is not None:
            at, since = fields(tick)["at"], fields(tick)["since"]
            assert since == max((each for each in before if each < at), default=None)
            log.append(at)
            sent.append(at)
        assert latest_boundary(now, HOUR) in log
    assert len(sent) == len(set(sent))
    assert sent == sorted(sent)


def test_missed_boundaries_get_no_ticks_of_their_own() -> None:
    tick = make_missing_tick(latest_boundary(10 * HOUR * 1000 + 5, HOUR), [HOUR * 1000, 2 * HOUR * 1000], 3)
    assert tick is not None
    assert fields(tick) == {"at": 10 * HOUR * 1000, "since": 2 * HOUR * 1000}
