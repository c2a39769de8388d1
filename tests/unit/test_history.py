"""One customer's row: any order, any chunks and any repetition end in the same bytes, however long the history is."""

import random
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import FatalError
from schemas.service import telemetry
from schemas.wire.codec import decode
from schemas.wire.topics import JOURNEYS
from streams.signals import load_signals
from streams.signals.contract import Reading, Signal
from streams.steps.customer import Block, Customer, decode_block, decode_customer, encode_row
from streams.steps.fold import StateCodec, fold
from streams.steps.history import (
    BLOCK_SIZE,
    DEFAULT_MAX_BLOCKS,
    MIN_TAIL,
    SHORT_ID_BYTES,
    SLOT_COUNT,
    History,
    count_full_blocks,
)
from streams.touchpoint import Touchpoint

DAY = 86_400_000
START = 1_700_000_000_000
KINDS = ("order.placed", "payment.failed", "ticket.resolved", "contract.cancelled", "order.placed", "ticket.opened")
CUSTOMER = UUID(int=7).bytes


def life(count: int, seed: int = 1) -> list[Touchpoint]:
    """Touchpoints in the order of event time, some of them years apart, some of them at the same moment."""
    chance, at, found = random.Random(seed), START, []
    for number in range(count):
        at += chance.choice((0, 0, 1, DAY, 3 * DAY, 20 * DAY, 400 * DAY) if number % 40 == 0 else (0, 1, DAY))
        found.append(Touchpoint(at, uuid5(UUID(int=seed), str(number)).bytes, "erp", chance.choice(KINDS), "web", "use"))
    return sorted(found, key=Touchpoint.order_key)


class Rows:
    """A customer's rows as the store keeps them, and what the reader was told."""

    def __init__(self, which: Sequence[Signal] | None = None, max_blocks: int = DEFAULT_MAX_BLOCKS) -> None:
        self.max_blocks = max_blocks
        self.signals = load_signals() if which is None else which
        self.row = b""
        self.blocks: dict[int, bytes] = {}
        self.newest: dict[bytes, dict[str, Any]] = {}
        self.written: list[int] = []

    def load(self, slot: int) -> Block:
        return decode_block(self.blocks[slot])

    def customer(self) -> Customer:
        return decode_customer(self.row or None)

    def feed(self, arrived: Sequence[Touchpoint]) -> None:
        customer = self.customer()
        folded = fold(self.signals, StateCodec(self.signals), CUSTOMER, customer, arrived, self.load, self.max_blocks)
        if folded is None:
            return
        self.row = encode_row(customer)
        for slot, block in folded.blocks.items():
            self.blocks.pop(slot, None)
            if block is not None:
                self.blocks[slot] = encode_row(block)
        self.written.append(len(self.row) + sum(len(self.blocks.get(slot, b"")) for slot in folded.blocks))
        for output in folded.outputs:
            fields = decode(output.value)[1]
            key = fields["journey_id" if output.topic == JOURNEYS else "reading_id"]
            assert fields["version"] >= self.newest.get(key, fields)["version"]
            self.newest[key] = fields

    def shown(self) -> dict[bytes, dict[str, Any]]:
        return {key: {**fields, "version": 0} for key, fields in self.newest.items() if not fields["deleted"]}

    def touchpoints(self) -> list[Touchpoint]:
        return History(self.customer(), self.load).load_touchpoints()


def fed(chunks: Iterable[Sequence[Touchpoint]]) -> Rows:
    rows = Rows()
    for chunk in chunks:
        rows.feed(chunk)
    return rows


def cut(touchpoints: Sequence[Touchpoint], chance: random.Random, most: int) -> list[Sequence[Touchpoint]]:
    chunks, at = [], 0
    while at < len(touchpoints):
        size = chance.randint(1, most)
        chunks.append(touchpoints[at : at + size])
        at += size
    return chunks


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 330), st.integers(0, 10**6), st.sampled_from([1, 5, 60, 400]), st.sampled_from([0, 3, 70, 400]))
def test_any_order_any_chunks_and_any_repetition_end_in_the_same_bytes(count: int, seed: int, most: int, late: int) -> None:
    touchpoints, chance = life(count, seed), random.Random(seed)
    arriving = sorted([*touchpoints, *chance.choices(touchpoints, k=count // 3)], key=lambda _: chance.random())
    if late < 400:  # nearly in order, as sources that are polled one after another are
        arriving = sorted(arriving, key=lambda each: touchpoints.index(each) + chance.uniform(0, late))
    calm, wild = fed([touchpoints]), fed(cut(arriving, chance, most))
    assert wild.row == calm.row
    assert wild.blocks == calm.blocks
    assert wild.shown() == calm.shown()
    assert wild.touchpoints() == touchpoints


def test_what_a_touchpoint_writes_does_not_grow_with_the_history() -> None:
    rows = fed([[each] for each in life(1_500)])
    early, late = sum(rows.written[200:400]) / 200, sum(rows.written[1_300:]) / 200
    assert late < early + DEFAULT_MAX_BLOCKS * (SHORT_ID_BYTES * BLOCK_SIZE + 30), "only the block list grows"
    assert max(rows.written) < 50 * (MIN_TAIL + 2 * BLOCK_SIZE) + 4 * 1_024 * 8


def test_the_newest_are_kept_and_what_is_older_is_late_beyond_the_bound_and_counted() -> None:
    touchpoints = life(1_500)
    stranger = Touchpoint(START - DAY, b"s" * 16, "erp", "order.placed", "web")
    rows = fed([touchpoints])
    kept = rows.touchpoints()
    assert kept == touchpoints[-len(kept) :]
    assert len(kept) == 1_500 - (count_full_blocks(1_500) - DEFAULT_MAX_BLOCKS) * BLOCK_SIZE
    assert len(kept) >= DEFAULT_MAX_BLOCKS * BLOCK_SIZE + MIN_TAIL
    before, counted = (rows.row, dict(rows.blocks)), telemetry.LATE.labels("join")._value.get()
    rows.feed([stranger, touchpoints[0]])
    assert (rows.row, rows.blocks) == before
    assert telemetry.LATE.labels("join")._value.get() == counted + 2


@pytest.mark.parametrize(("before", "after"), [(16, 3), (3, 16), (1, 255)])
def test_the_bound_may_be_set_anew_while_rows_are_there(before: int, after: int) -> None:
    touchpoints = life(1_200)
    rows = Rows(max_blocks=before)
    rows.feed(touchpoints[:900])
    rows.max_blocks = after
    rows.feed(touchpoints[900:1_100])
    rows.feed(touchpoints[1_050:])
    kept = rows.touchpoints()
    assert kept == touchpoints[-len(kept) :]
    assert len(rows.blocks) == len(rows.customer().blocks) <= after
    assert len(kept) >= min(after, before + 4) * BLOCK_SIZE + MIN_TAIL


def test_blocks_come_round_to_the_slots_of_forgotten_ones() -> None:
    rows = Rows([], max_blocks=2)
    touchpoints = life(SLOT_COUNT * BLOCK_SIZE + 500)
    for start in range(0, len(touchpoints), 97):
        rows.feed(touchpoints[start : start + 97])
    assert rows.touchpoints() == touchpoints[-len(rows.touchpoints()) :]
    assert len(rows.blocks) == 2


def test_a_repetition_is_known_by_its_id_whatever_its_time_says() -> None:
    rows = fed([life(700)])
    before = rows.row, dict(rows.blocks)
    rows.feed([msgspec.structs.replace(each, at=each.at + 9 * 365 * DAY) for each in life(700)])
    assert (rows.row, rows.blocks) == before


class Counting:
    """A signal whose definition can be told apart: counts, and speaks at every touchpoint."""

    name = "counting"
    topic = "touchline.signals"

    def __init__(self, definition: str, step: int) -> None:
        self.definition = definition
        self.step = step
        self.state = Count

    def fold(self, state: Any, touchpoint: Touchpoint) -> Any:
        state.n += self.step
        return state

    def read(self, state: Any, at: int, touchpoint: Touchpoint | None, since: int | None) -> Reading | None:
        return Reading(float(state.n), None, None, 1, {}, ())


class Count(msgspec.Struct, array_like=True):
    n: int = 0


def test_a_changed_definition_folds_everything_that_is_kept_again() -> None:
    touchpoints = life(300)
    rows = Rows([Counting("counting-1", 1)])
    rows.feed(touchpoints[:299])
    rows.signals = [Counting("counting-2", 2)]
    rows.feed(touchpoints[299:])
    fresh = Rows(rows.signals)
    fresh.feed(touchpoints)
    assert (rows.row, rows.blocks) == (fresh.row, fresh.blocks)
    values = {fields["at"]: fields["value"] for fields in rows.shown().values() if "value" in fields}
    assert max(values.values()) == 600


def test_a_row_of_newer_software_is_refused_with_what_to_do() -> None:
    with pytest.raises(FatalError, match="layout 9, this software knows 1: update every worker"):
        decode_customer(b"\x09rest")


class Grown(Customer):
    """The row of a later version, which knows one more thing."""

    loyal: bool = False


def test_rows_of_an_older_version_are_read_where_a_field_was_added() -> None:
    older = Customer(folded=3, newest=(5, b"e" * 16), tail=b"x", states={"a": msgspec.Raw(b"\x01")})
    grown = msgspec.msgpack.Decoder(Grown).decode(encode_row(older)[1:])
    assert not grown.loyal
    assert [getattr(grown, name) for name in Customer.__struct_fields__] == [
        getattr(older, name) for name in Customer.__struct_fields__
    ]
