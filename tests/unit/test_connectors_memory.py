"""What a stream remembers: of a snapshot only news is published, whatever else about the record changed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import StreamSpec
from connectors.mapping import TouchpointMapping
from connectors.memory import MOST_KEYS, Memory, Projections, Recent
from schemas.connector_state import ConnectorState
from schemas.touchpoint import Touchpoint

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
    return MAPPING.touchpoint(key, at.isoformat(), data, at, {})


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


def test_the_memory_is_bounded_and_what_fell_out_is_news_again() -> None:
    said = Projections(b"")
    same = ticket("1", 0, "open")
    for number in range(MOST_KEYS + 1):
        said.news(str(number), same)
    assert len(said.packed()) == 16 * MOST_KEYS < 65_536
    assert not said.news(str(MOST_KEYS), same)
    assert said.news("0", same)


def test_what_another_stream_told_is_told_no_more_although_that_one_forgets_it() -> None:
    spec = StreamSpec("social", lookback=timedelta(hours=1), timed=True, shared=True)
    name, at = UUID(int=7), NOW
    elsewhere = Recent(b"", spec.lookback)
    elsewhere.learn([(name, at)])
    memory = Memory(None, spec, [state(elsewhere)])
    assert name in memory.seen
    memory.learn([(UUID(int=8), at)])
    assert name in memory.seen
    memory.learn([(name, at)])
    assert Memory(state(memory.recent), spec).seen == {name, UUID(int=8)}


def state(recent: Recent) -> ConnectorState:
    given: dict[str, Any] = {"read": 0, "published": 0, "dead_lettered": 0, "repeated": 0, "last_event_at": None}
    return ConnectorState(connector="c", stream="s", cursor="{}", last_success_at=NOW, recent=recent.packed(), **given)
