"""How many events the intake lets wait, and how many it lets in: its inbox and its quotas."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import RejectedRecord
from connectors.intake.inbox import MOST_RECORDS, Inbox
from connectors.intake.quota import Quota
from connectors.intake.request import corrected

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 30)), max_size=30))
def test_over_any_time_a_quota_lets_through_its_rate_and_at_most_one_bucket_and_one_batch_more(
    steps: list[tuple[int, float]],
) -> None:
    now, passed, largest = 0.0, 0, 0
    quota = Quota(60, lambda: now)
    for events, seconds in steps:
        wait = quota.take(events)
        passed, largest = passed + (0 if wait else events), max(largest, events)
        now += seconds
        assert passed <= 60 + now + largest


@given(st.timedeltas(timedelta(0), timedelta(days=400)), st.timedeltas(timedelta(days=-4_000), timedelta(days=4_000)))
def test_the_clock_of_a_sender_does_not_matter(ago: timedelta, wrong: timedelta) -> None:
    assert corrected(NOW, NOW + wrong, NOW + wrong - ago) == NOW - ago


def test_a_request_is_answered_when_the_last_of_its_events_is_settled_and_its_room_is_free_then() -> None:
    inbox = Inbox(10)
    answers: list[bool] = []
    assert inbox.reserve(10)
    assert not inbox.reserve(1)
    refused = RejectedRecord(b"", 0, "-", None)  # type: ignore[arg-type]
    inbox.put("a", [refused] * (MOST_RECORDS + 1), 10, answers.append)
    assert inbox.waiting(0) == ["a"]
    first, rest = inbox.take("a"), inbox.take("a")
    assert (len(first), len(rest), inbox.waiting(0)) == (MOST_RECORDS, 1, [])
    inbox.settle(first, kept=True)
    assert answers == []
    inbox.settle(rest, kept=False)
    assert answers == [False]
    assert inbox.reserve(10)


def test_what_is_late_is_not_taken_any_more_and_its_room_is_free_once_it_is_met() -> None:
    inbox = Inbox(20)
    answers: list[tuple[str, bool]] = []
    refused = RejectedRecord(b"", 0, "-", None)  # type: ignore[arg-type]
    for name in ("late", "in time"):
        assert inbox.reserve(10)
        delivery = inbox.put("a", [refused] * 3, 10, lambda kept, name=name: answers.append((name, kept)))  # type: ignore[misc]
        delivery.late = name == "late"
    taken = inbox.take("a")
    assert {entry is delivery for entry, _ in taken} == {True}
    assert answers == [("late", False)]
    assert inbox.reserve(10)
    inbox.settle(taken, kept=True)
    assert answers == [("late", False), ("in time", True)]
