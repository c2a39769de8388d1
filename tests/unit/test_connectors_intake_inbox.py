"""The intake's inbox, quotas and correction of sender clocks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import RejectedRecord
from connectors.intake.inbox import MAX_BATCH_RECORDS, Inbox
from connectors.intake.quota import Quota
from connectors.intake.request import correct_time

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 30)), max_size=30))
def test_quota_passes_its_rate_plus_one_bucket_plus_one_batch_at_most(
    steps: list[tuple[int, float]],
) -> None:
    now, passed, largest = 0.0, 0, 0
    quota = Quota(60, lambda: now)
    for events, seconds in steps:
        wait = quota.consume(events)
        passed, largest = passed + (0 if wait else events), max(largest, events)
        now += seconds
        assert passed <= 60 + now + largest


@given(st.timedeltas(timedelta(0), timedelta(days=400)), st.timedeltas(timedelta(days=-4_000), timedelta(days=4_000)))
def test_wrong_sender_clock_does_not_change_event_time(ago: timedelta, wrong: timedelta) -> None:
    assert correct_time(NOW, NOW + wrong, NOW + wrong - ago) == NOW - ago


def test_request_is_answered_and_its_bytes_released_after_last_event() -> None:
    inbox = Inbox(10)
    answers: list[bool] = []
    assert inbox.reserve(10)
    assert not inbox.reserve(1)
    rejected = RejectedRecord(b"", 0, "-", None)  # type: ignore[arg-type]
    inbox.put("a", [rejected] * (MAX_BATCH_RECORDS + 1), 10, answers.append)
    assert inbox.wait(0) == ["a"]
    first, rest = inbox.take("a"), inbox.take("a")
    assert (len(first), len(rest), inbox.wait(0)) == (MAX_BATCH_RECORDS, 1, [])
    inbox.settle(first, acknowledged=True)
    assert answers == []
    inbox.settle(rest, acknowledged=False)
    assert answers == [False]
    assert inbox.reserve(10)


def test_events_of_late_request_are_dropped_and_its_bytes_released() -> None:
    inbox = Inbox(20)
    answers: list[tuple[str, bool]] = []
    rejected = RejectedRecord(b"", 0, "-", None)  # type: ignore[arg-type]
    for name in ("late", "in time"):
        assert inbox.reserve(10)
        delivery = inbox.put("a", [rejected] * 3, 10, lambda outcome, name=name: answers.append((name, outcome)))  # type: ignore[misc]
        delivery.is_late = name == "late"
    taken = inbox.take("a")
    assert {entry is delivery for entry, _ in taken} == {True}
    assert answers == [("late", False)]
    assert inbox.reserve(10)
    inbox.settle(taken, acknowledged=True)
    assert answers == [("late", False), ("in time", True)]
