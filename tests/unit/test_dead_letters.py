"""Dead letters: their states, the plan and batches of a replay, and safe terminal output."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.dead_letters.dead_letter import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_REPLAYS,
    NEXT_STEPS,
    DeadLetter,
    State,
    plan_replay,
    split_batches,
)
from deploy.dead_letters.output import describe_payload, show_dead_letter, show_groups, show_list, show_plan, to_json
from deploy.dead_letters.queries import Content, Group
from tests.harness.sinks import encode_record, resolved

DEAD_LETTER = DeadLetter(
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
DEAD_LETTERS = st.builds(
    DEAD_LETTER._replace,
    topic=st.sampled_from([None, "touchline.erp", "touchline.identity"]),
    truncated=st.integers(0, 1),
    replays=st.integers(0, 5),
    replayed=st.integers(0, 1),
    size=st.integers(0, MAX_BATCH_BYTES),
)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.REFUSED),
        ({"replays": MAX_REPLAYS - 1}, State.REFUSED),
        ({"replays": MAX_REPLAYS}, State.LOOPING),
        ({"replays": MAX_REPLAYS, "replayed": 1}, State.REPLAYED),
        ({"truncated": 1}, State.TRUNCATED),
        ({"topic": None, "truncated": 1}, State.NOT_ON_KAFKA),
        ({"topic": "touchline.connector-state"}, State.COMPACTED),
    ],
)
def test_state_follows_from_fields(change: dict[str, Any], state: State) -> None:
    assert DEAD_LETTER._replace(**change).state is state


@given(dead_letters=st.lists(DEAD_LETTERS, max_size=8), again=st.booleans())
def test_plan_sends_only_allowed_states_and_counts_the_others(dead_letters: list[DeadLetter], *, again: bool) -> None:
    found = plan_replay(dead_letters, again=again)
    assert len(found.send) + found.left_out.total() == len(dead_letters)
    for each in found.send:
        assert each.topic == "touchline.erp"
        assert not each.truncated
        assert not each.replayed
        assert again or each.replays < MAX_REPLAYS
    assert not (again and found.left_out[State.LOOPING])
    assert set(found.left_out) <= set(NEXT_STEPS)
    assert found.is_complete == all(each.replayed or each in found.send for each in dead_letters)


@given(st.lists(st.integers(0, MAX_BATCH_BYTES), max_size=40) | st.integers(0, 1_200).map(lambda count: [0] * count))
def test_batches_keep_order_and_bounds(sizes: list[int]) -> None:
    dead_letters = [DEAD_LETTER._replace(letter_id=UUID(int=number), size=size) for number, size in enumerate(sizes)]
    cut = list(split_batches(dead_letters))
    assert [each for batch in cut for each in batch] == dead_letters
    assert all(0 < len(batch) <= MAX_BATCH for batch in cut)
    assert all(len(batch) == 1 or sum(each.size for each in batch) <= MAX_BATCH_BYTES for batch in cut)


def test_decoded_record_has_readable_ids_and_times() -> None:
    fields = resolved(event_id=UUID(int=5).bytes, occurred_at=1_760_000_000_000, text="grüß Gott")
    title, shown = describe_payload(encode_record("resolved", fields))
    assert title == "record resolved"
    found = json.loads(shown)["touchpoint"]
    assert found["event_id"] == str(UUID(int=5))
    assert found["occurred_at"] == "2025-10-09T08:53:20+00:00"
    assert found["text"] == "grüß Gott"


@given(st.integers(-(2**63), 2**63 - 1))
def test_time_outside_of_calendar_is_shown_as_number(at: int) -> None:
    found = json.loads(describe_payload(encode_record("resolved", resolved(occurred_at=at)))[1])["touchpoint"]["occurred_at"]
    assert found == at or datetime.fromisoformat(found).tzinfo is UTC


def test_text_is_shown_as_text_and_other_payload_as_bytes() -> None:
    assert describe_payload("17;müch".encode())[1] == "17;müch"
    assert describe_payload(b"\x00\xffAB")[1].split() == ["00000000", "00", "ff", "41", "42", "··AB"]
    assert describe_payload(b"\xff" * 5_000)[1].endswith("… 3,976 more bytes")
    assert describe_payload(b"a" * 5_000)[1].endswith("… 3,000 more characters")


@given(st.binary(max_size=80) | st.text(max_size=30).map(str.encode), st.none() | st.binary(max_size=20))
def test_payload_sends_no_control_character_to_terminal(payload: bytes, key: bytes | None) -> None:
    out = io.StringIO()
    show_dead_letter(Console(file=out, width=100), DEAD_LETTER, Content(key, payload))
    assert all(one.isprintable() or one == "\n" for one in out.getvalue())


def test_next_step_can_be_pasted() -> None:
    out = io.StringIO()
    show_dead_letter(Console(file=out, width=60), DEAD_LETTER, Content(None, b"x"))
    (line,) = (line for line in out.getvalue().splitlines() if line.startswith("Next step: "))
    assert line.endswith(f"touchline dead-letters replay --where \"letter_id = '{DEAD_LETTER.letter_id}'\"")


@given(st.lists(DEAD_LETTERS, max_size=4), st.integers(40, 200))
def test_list_fits_any_terminal(dead_letters: list[DeadLetter], width: int) -> None:
    out = io.StringIO()
    show_list(Console(file=out, width=width), dead_letters, len(dead_letters))
    *lines, command = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert command.endswith("touchline dead-letters show ID")  # one line at any width, so that it can be pasted


def test_json_is_one_line_without_customer_data() -> None:
    found = json.loads(to_json(DEAD_LETTER._replace(detail="two\nlines")))
    assert (found["letter_id"], found["at"], found["state"]) == (str(UUID(int=7)), "2026-11-22T00:00:00+00:00", "refused")
    assert {"payload", "key"}.isdisjoint(found)


def test_80_columns_cut_no_word() -> None:
    out = io.StringIO()
    on = Console(file=out, width=80)
    stage, reason = "sink_identity_conflicts", "incompatible_schema_version"
    one = DEAD_LETTER._replace(stage=stage, reason=reason, origin="touchline.identity-requests/11/1234567", replays=3)
    show_groups(on, [Group(stage, reason, 1_234_567, 234_567, 10**9, one.at, one.at)])
    show_list(on, [one], 1_234_567)
    show_plan(on, plan_replay([one], again=True), dry_run=True)
    shown = out.getvalue()
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("Show one: ")) <= 80
    assert shown.count(stage) == shown.count(reason) == 3
    assert {"1,234,567", "234,567", "2026-11-22"} <= set(shown.split())
