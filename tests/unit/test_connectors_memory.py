"""What a stream remembers: ids of its overlap, and of a snapshot what it said, of which only news is published."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import StreamSpec
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from connectors.runtime import deduplication as memory
from connectors.runtime.deduplication import MOST_IDS, MOST_KEYS, Memory, Projections, Recent
from schemas.records.connector_state import ConnectorState
from schemas.records.touchpoint import Touchpoint, event_id

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "type": "join('.', ['ticket', state])",
    "channel": "'web'",
    "occurred_at": "iso(at, 'UTC')",
    "identifiers": {"party": "id(party)"},
}
COLUMNS = frozenset({"state", "at", "party", "tags"})
MAPPING = TouchpointMapping(connector="c", feed="f", where="f.map", source="support", system="s", columns=COLUMNS, fields=FIELDS)


def ticket(key: str, minute: int, state: str, tags: str = "") -> Touchpoint:
    at = NOW + timedelta(minutes=minute)
    data = {"state": state, "at": at.isoformat(), "party": "7", "tags": tags}
    return MAPPING.create_touchpoint(key, at.isoformat(), data, at, {})


def test_only_a_change_of_what_is_mapped_is_news_and_going_back_is_one_too() -> None:
    said = Projections(b"")
    steps = [("open", "a"), ("open", "b"), ("solved", "b"), ("solved", "c"), ("open", "c")]
    news = [said.news("1", ticket("1", minute, state, tags)) for minute, (state, tags) in enumerate(steps)]
    assert news == [True, False, True, False, True]
    assert said.news("2", ticket("2", 9, "open"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["open", "solved"])), max_size=20), st.integers(0, 20))
def test_a_restart_anywhere_remembers_the_same(steps: list[tuple[str, str]], cut: int) -> None:
    whole, halves = Projections(b""), Projections(b"")
    for number, (key, state) in enumerate(steps):
        halves = Projections(halves.packed()) if number == cut else halves
        assert whole.news(key, ticket(key, number, state)) == halves.news(key, ticket(key, number, state))
    assert whole.packed() == halves.packed()


def test_of_a_snapshot_the_keys_met_last_are_saved_and_more_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_HELD", 2 * MOST_KEYS)
    said, same = Projections(b""), ticket("1", 0, "open")
    for number in range(2 * MOST_KEYS):
        assert said.news(str(number), same)
    assert not any(said.news(str(number), same) for number in range(2 * MOST_KEYS))
    saved = Projections(said.packed())
    assert len(said.packed()) == 16 * MOST_KEYS < 65_536
    assert [saved.news(str(number), same) for number in (2 * MOST_KEYS - 1, MOST_KEYS, MOST_KEYS - 1)] == [False, False, True]
    assert said.news("one more", same)
    assert said.news("0", same)


def test_the_overlap_keeps_what_it_may_meet_again_and_forgets_the_rest_in_time() -> None:
    ids = [event_id("s", str(number), "1") for number in range(20_000)]
    recent = Recent(b"", timedelta(seconds=10))
    recent.learn([(name, NOW + timedelta(seconds=number)) for number, name in enumerate(ids[:100])])
    assert Recent(recent.packed(), timedelta(seconds=10)).ids() == set(ids[89:100])
    forgotten = [recent.learn([(name, NOW + timedelta(seconds=number))]) for number, name in enumerate(ids)]
    assert any(forgotten)
    assert set(ids[-11:]) <= recent.ids()
    assert len(recent.ids()) <= 2 * MOST_IDS
    assert Recent(recent.packed(), timedelta(seconds=10)).ids() == set(ids[-11:])


def test_a_dense_overlap_is_held_whole_and_what_came_last_is_saved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "MOST_HELD", 4 * MOST_IDS)
    ids = [event_id("s", str(number), "1") for number in range(10 * MOST_IDS)]
    recent = Recent(b"", timedelta(days=1))
    recent.learn((name, NOW) for name in ids[: 4 * MOST_IDS])
    assert recent.ids() == set(ids[: 4 * MOST_IDS])
    assert not caplog.messages
    recent.learn((name, NOW) for name in ids)
    assert recent.ids() == set(ids[-4 * MOST_IDS :])
    assert len(caplog.messages) == 1
    assert len(recent.packed()) < 65_536
    assert Recent(recent.packed(), timedelta(days=1)).ids() == set(ids[-MOST_IDS:])


def test_what_another_stream_told_is_told_no_more_although_that_one_forgets_it() -> None:
    spec = StreamSpec("social", lookback=timedelta(hours=1), timed=True, shared=True)
    name, at = UUID(int=7), NOW
    elsewhere = Recent(b"", spec.lookback)
    elsewhere.learn([(name, at)])
    remembered = Memory(None, spec, elsewhere.ids())
    assert name in remembered.seen
    remembered.learn([(UUID(int=8), at)])
    assert name in remembered.seen
    remembered.learn([(name, at)])
    assert Memory(state(remembered.recent), spec).seen == {name, UUID(int=8)}


def state(recent: Recent) -> ConnectorState:
    given: dict[str, Any] = {"read": 0, "published": 0, "dead_lettered": 0, "repeated": 0, "last_event_at": None}
    return ConnectorState(connector="c", stream="s", cursor="{}", last_success_at=NOW, recent=recent.packed(), **given)
