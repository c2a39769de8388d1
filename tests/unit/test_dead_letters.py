"""Which dead letters may be sent again, in which portions, and that nothing in a payload can hurt the terminal that shows it."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.dead_letters.dead_letter import BATCH_BYTES, BATCH_LETTERS, MAX_REPLAYS, WHY, Letter, State, batches, plan
from deploy.dead_letters.output import as_json, record, show_letter, show_letters
from deploy.dead_letters.queries import Content
from tests.harness.sinks import encoded, resolved

LETTER = Letter(
    letter_id=UUID(int=7),
    at=datetime(2026, 11, 22, tzinfo=UTC),
    stage="identify",
    source="",
    connector="",
    reason="not_avro",
    detail="no record",
    origin="touchline.erp/3/41",
    topic="touchline.erp",
    partition=3,
    offset=41,
    schema_id=None,
    size=6,
    truncated=0,
    software="0.1.0",
    replays=0,
    replayed=0,
    replayed_at=None,
)
LETTERS = st.builds(
    LETTER._replace,
    topic=st.sampled_from([None, "touchline.erp", "touchline.identity"]),
    truncated=st.integers(0, 1),
    replays=st.integers(0, 5),
    replayed=st.integers(0, 1),
    size=st.integers(0, BATCH_BYTES),
)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.REFUSED),
        ({"replays": MAX_REPLAYS - 1}, State.REFUSED),
        ({"replays": MAX_REPLAYS}, State.LOOPING),
        ({"replays": MAX_REPLAYS, "replayed": 1}, State.REPLAYED),
        ({"truncated": 1}, State.CUT),
        ({"topic": None, "truncated": 1}, State.SOURCE),
        ({"topic": "touchline.connector-state"}, State.COMPACTED),
    ],
)
def test_the_state_of_a_letter(change: dict[str, Any], state: State) -> None:
    assert LETTER._replace(**change).state is state


@given(letters=st.lists(LETTERS, max_size=8), again=st.booleans())
def test_a_plan_sends_only_what_may_be_sent_and_accounts_for_the_rest(letters: list[Letter], *, again: bool) -> None:
    found = plan(letters, again=again)
    assert len(found.send) + found.left.total() == len(letters)
    for letter in found.send:
        assert letter.topic == "touchline.erp"
        assert not letter.truncated
        assert not letter.replayed
        assert again or letter.replays < MAX_REPLAYS
    assert not (again and found.left[State.LOOPING])
    assert set(found.left) <= set(WHY)
    assert found.complete == all(letter.replayed or letter in found.send for letter in letters)


@given(st.lists(st.integers(0, BATCH_BYTES), max_size=40) | st.integers(0, 1_200).map(lambda count: [0] * count))
def test_batches_keep_order_and_bounds(sizes: list[int]) -> None:
    letters = [LETTER._replace(letter_id=UUID(int=number), size=size) for number, size in enumerate(sizes)]
    cut = list(batches(letters))
    assert [letter for batch in cut for letter in batch] == letters
    assert all(0 < len(batch) <= BATCH_LETTERS for batch in cut)
    assert all(len(batch) == 1 or sum(letter.size for letter in batch) <= BATCH_BYTES for batch in cut)


def test_a_record_that_decodes_is_shown_with_readable_ids_and_times() -> None:
    fields = resolved(event_id=UUID(int=5).bytes, occurred_at=1_760_000_000_000, text="grüß Gott")
    title, shown = record(encoded("resolved", fields))
    assert title == "record resolved"
    found = json.loads(shown)["touchpoint"]
    assert found["event_id"] == str(UUID(int=5))
    assert found["occurred_at"] == "2025-10-09T08:53:20+00:00"
    assert found["text"] == "grüß Gott"


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_time_that_no_calendar_has_is_shown_as_a_number(at: int) -> None:
    found = json.loads(record(encoded("resolved", resolved(occurred_at=at)))[1])["touchpoint"]["occurred_at"]
    assert found == at or datetime.fromisoformat(found).tzinfo is UTC


def test_text_is_shown_as_text_and_bytes_as_bytes() -> None:
    assert record("17;müch".encode())[1] == "17;müch"
    assert record(b"\x00\xffAB")[1].split() == ["00000000", "00", "ff", "41", "42", "··AB"]
    assert record(b"\xff" * 5_000)[1].endswith("… 3,976 bytes more")
    assert record(b"a" * 5_000)[1].endswith("… 3,000 characters more")


@given(st.binary(max_size=80) | st.text(max_size=30).map(str.encode), st.none() | st.binary(max_size=20))
def test_nothing_in_a_payload_reaches_the_terminal_as_a_command(payload: bytes, key: bytes | None) -> None:
    out = io.StringIO()
    show_letter(Console(file=out, width=100), LETTER, Content(key, payload))
    assert all(one.isprintable() or one == "\n" for one in out.getvalue())


@given(st.lists(LETTERS, max_size=4), st.integers(40, 200))
def test_a_list_fits_any_terminal(letters: list[Letter], width: int) -> None:
    out = io.StringIO()
    show_letters(Console(file=out, width=width), letters, len(letters))
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_a_letter_is_one_line_of_json() -> None:
    found = json.loads(as_json(LETTER._replace(detail="two\nlines")))
    assert (found["letter_id"], found["at"], found["state"]) == (str(UUID(int=7)), "2026-11-22T00:00:00+00:00", "refused")
    assert {"payload", "key"}.isdisjoint(found)
