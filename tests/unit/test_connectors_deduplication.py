"""Deduplication of a stream: ids of its overlap, and the last published content of its snapshots."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Phase, StreamSpec
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from connectors.runtime import recent_ids, snapshots
from connectors.runtime.deduplication import StreamDeduplication
from connectors.runtime.encode import EncodedTouchpoint
from connectors.runtime.recent_ids import MAX_SAVED_IDS, RecentIds
from connectors.runtime.snapshots import MAX_SAVED_KEYS, Snapshots, hash_content
from schemas.records.touchpoint import Touchpoint, event_id
from tests.harness.connectors import restart_deduplication

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "type": "join('.', ['ticket', state])",
    "channel": "'web'",
    "occurred_at": "iso(at, 'UTC')",
    "identifiers": {"party": "id(party)"},
}
COLUMNS = frozenset({"state", "at", "party", "tags"})
MAPPING = TouchpointMapping(connector="c", feed="f", where="f.map", source="support", system="s", columns=COLUMNS, fields=FIELDS)


def touchpoint(key: str, minute: int, state: str, tags: str = "") -> Touchpoint:
    at = NOW + timedelta(minutes=minute)
    data = {"state": state, "at": at.isoformat(), "party": "7", "tags": tags}
    return MAPPING.create_touchpoint(key, at.isoformat(), data, at, {})


def ticket(key: str, minute: int, state: str, tags: str = "") -> bytes:
    return hash_content(touchpoint(key, minute, state, tags))


def encoded(key: str, minute: int) -> EncodedTouchpoint:
    found, at = touchpoint(key, minute, "open"), NOW + timedelta(minutes=minute)
    return EncodedTouchpoint(found.event_id, (b"key", b"value"), key, at, at, hash_content(found))


def test_snapshot_is_new_when_a_mapped_field_changes_even_back_to_an_old_value() -> None:
    contents = Snapshots(b"")
    steps = [("open", "a"), ("open", "b"), ("solved", "b"), ("solved", "c"), ("open", "c")]
    changed = [contents.update("1", ticket("1", minute, state, tags)) for minute, (state, tags) in enumerate(steps)]
    assert changed == [True, False, True, False, True]
    assert contents.update("2", ticket("2", 9, "open"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["open", "solved"])), max_size=20), st.integers(0, 20))
def test_snapshots_survive_a_restart_after_any_record(steps: list[tuple[str, str]], cut: int) -> None:
    whole, halves = Snapshots(b""), Snapshots(b"")
    for number, (key, state) in enumerate(steps):
        halves = Snapshots(halves.pack()) if number == cut else halves
        assert whole.update(key, ticket(key, number, state)) == halves.update(key, ticket(key, number, state))
    assert whole.pack() == halves.pack()


def test_newest_snapshot_keys_are_saved_and_more_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_HELD_KEYS", 2 * MAX_SAVED_KEYS)
    contents, same = Snapshots(b""), ticket("1", 0, "open")
    for number in range(2 * MAX_SAVED_KEYS):
        assert contents.update(str(number), same)
    assert not any(contents.update(str(number), same) for number in range(2 * MAX_SAVED_KEYS))
    saved = Snapshots(contents.pack())
    assert len(contents.pack()) == 16 * MAX_SAVED_KEYS < 65_536
    kept = (2 * MAX_SAVED_KEYS - 1, MAX_SAVED_KEYS, MAX_SAVED_KEYS - 1)
    assert [saved.update(str(number), same) for number in kept] == [False, False, True]
    assert contents.update("one more", same)
    assert contents.update("0", same)


def test_ids_of_the_overlap_are_kept_and_older_ones_dropped_in_time() -> None:
    ids = [event_id("s", str(number), "1") for number in range(20_000)]
    recent = RecentIds(b"", timedelta(seconds=10))
    recent.add([(name, NOW + timedelta(seconds=number)) for number, name in enumerate(ids[:100])])
    assert RecentIds(recent.pack(), timedelta(seconds=10)).ids() == set(ids[89:100])
    has_dropped = [recent.add([(name, NOW + timedelta(seconds=number))]) for number, name in enumerate(ids)]
    assert any(has_dropped)
    assert set(ids[-11:]) <= recent.ids()
    assert len(recent.ids()) <= 2 * MAX_SAVED_IDS
    assert RecentIds(recent.pack(), timedelta(seconds=10)).ids() == set(ids[-11:])


def test_dense_overlap_is_held_whole_and_its_newest_ids_are_saved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recent_ids, "MAX_HELD_IDS", 4 * MAX_SAVED_IDS)
    ids = [event_id("s", str(number), "1") for number in range(10 * MAX_SAVED_IDS)]
    recent = RecentIds(b"", timedelta(days=1))
    recent.add((name, NOW) for name in ids[: 4 * MAX_SAVED_IDS])
    assert recent.ids() == set(ids[: 4 * MAX_SAVED_IDS])
    assert not caplog.messages
    recent.add((name, NOW) for name in ids)
    assert recent.ids() == set(ids[-4 * MAX_SAVED_IDS :])
    assert len(caplog.messages) == 1
    assert len(recent.pack()) < 65_536
    assert RecentIds(recent.pack(), timedelta(days=1)).ids() == set(ids[-MAX_SAVED_IDS:])


def test_record_published_by_another_stream_stays_repeated_after_that_stream_forgets_it() -> None:
    spec = StreamSpec("social", lookback=timedelta(hours=1), is_timed=True, is_shared=True)
    theirs, ours = encoded("7", 0), encoded("8", 0)
    stream = StreamDeduplication(None, spec, {theirs.id})
    assert stream.select_new([theirs], Phase.NEXT).repeated == 1
    assert len(stream.select_new([ours], Phase.NEXT).touchpoints) == 1
    assert stream.select_new([theirs], Phase.NEXT).repeated == 1
    assert restart_deduplication(stream, spec).select_new([theirs, ours], Phase.NEXT).repeated == 2


def test_replayed_record_is_repeated_in_this_round_and_not_saved() -> None:
    spec = StreamSpec("erp", lookback=timedelta(hours=1), is_timed=True)
    stream, record = StreamDeduplication(None, spec), encoded("1", 0)
    stream.select_new([record], Phase.REPLAY)
    assert stream.select_new([record], Phase.NEXT).repeated == 1
    assert len(StreamDeduplication(None, spec).select_new([record], Phase.NEXT).touchpoints) == 1


def test_restart_forgets_everything() -> None:
    spec = StreamSpec("erp", lookback=timedelta(hours=1), is_timed=True, is_snapshot=True)
    stream, record = StreamDeduplication(None, spec), encoded("1", 0)
    assert stream.select_new([record, record], Phase.NEXT).repeated == 1
    assert len(stream.select_new([record], Phase.RESTART).touchpoints) == 1


def test_next_round_of_an_untimed_stream_begins_without_ids() -> None:
    stream, record = StreamDeduplication(None, StreamSpec("erp")), encoded("1", 0)._replace(source_time=None)
    assert stream.select_new([record, record], Phase.NEXT).repeated == 1
    stream.begin_round()
    assert len(stream.select_new([record], Phase.NEXT).touchpoints) == 1
