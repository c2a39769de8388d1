"""Row of one customer: any order, chunks and repetition end in the same bytes, however long the history is."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import FatalError
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


def make_touchpoints(count: int, seed: int = 1) -> list[Touchpoint]:
    """Return touchpoints in event-time order, some years apart, some at the same millisecond."""
    chance, at, found = random.Random(seed), START, []
    for number in range(count):
        at += chance.choice((0, 0, 1, DAY, 3 * DAY, 20 * DAY, 400 * DAY) if number % 40 == 0 else (0, 1, DAY))
        found.append(Touchpoint(at, uuid5(UUID(int=seed), str(number)).bytes, "erp", chance.choice(KINDS), "web", "use"))
    return sorted(found, key=Touchpoint.order_key)


class Rows:
    """Rows of a customer as the store keeps them, and the newest records as readers see them."""

    def __init__(self, which: Sequence[Signal] | None = None, max_blocks: int = DEFAULT_MAX_BLOCKS) -> None:
        self.max_blocks = max_blocks
        self.signals = load_signals() if which is None else which
        self.row = b""
        self.blocks: dict[int, bytes] = {}
        self.newest: dict[bytes, dict[str, Any]] = {}
        self.written: list[int] = []
        self.late: list[Touchpoint] = []

    def load(self, slot: int) -> Block:
        return decode_block(self.blocks[slot])

    def customer(self) -> Customer:
        return decode_customer(self.row or None)

    def feed(self, arrived: Sequence[Touchpoint]) -> None:
        customer = self.customer()
        history = History(customer, self.load)
        new, late = history.select_new(arrived)
        self.late += late
        if not new:
            return
        result = fold(self.signals, StateCodec(self.signals), CUSTOMER, history, new, self.max_blocks)
        self.row = encode_row(customer)
        for slot, block in result.blocks.items():
            self.blocks.pop(slot, None)
            if block is not None:
                self.blocks[slot] = encode_row(block)
        self.written.append(len(self.row) + sum(len(self.blocks.get(slot, b"")) for slot in result.blocks))
        for output in result.outputs:
            fields = decode(output.value)[1]
            key = fields["journey_id" if output.topic == JOURNEYS else "reading_id"]
            assert fields["version"] >= self.newest.get(key, fields)["version"]
            self.newest[key] = fields

    def visible(self) -> dict[bytes, dict[str, Any]]:
        return {key: {**fields, "version": 0} for key, fields in self.newest.items() if not fields["deleted"]}

    def touchpoints(self) -> list[Touchpoint]:
        return History(self.customer(), self.load).load_touchpoints()


def feed_all(chunks: Iterable[Sequence[Touchpoint]]) -> Rows:
    rows = Rows()
    for chunk in chunks:
        rows.feed(chunk)
    return rows


def cut_randomly(touchpoints: Sequence[Touchpoint], chance: random.Random, max_size: int) -> list[Sequence[Touchpoint]]:
    chunks, at = [], 0
    while at < len(touchpoints):
        size = chance.randint(1, max_size)
        chunks.append(touchpoints[at : at + size])
        at += size
    return chunks


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 330), st.integers(0, 10**6), st.sampled_from([1, 5, 60, 400]), st.sampled_from([0, 3, 70, 400]))
def test_any_order_chunks_and_repetition_end_in_the_same_bytes(count: int, seed: int, max_size: int, late: int) -> None:
    touchpoints, chance = make_touchpoints(count, seed), random.Random(seed)
    arriving = sorted([*touchpoints, *chance.choices(touchpoints, k=count // 3)], key=lambda _: chance.random())
    if late < 400:  # nearly in order, as from sources that are polled one after another
        arriving = sorted(arriving, key=lambda each: touchpoints.index(each) + chance.uniform(0, late))
    calm, wild = feed_all([touchpoints]), feed_all(cut_randomly(arriving, chance, max_size))
    assert wild.row == calm.row
    assert wild.blocks == calm.blocks
    assert wild.visible() == calm.visible()
    assert wild.touchpoints() == touchpoints


def test_bytes_written_per_touchpoint_do_not_grow_with_the_history() -> None:
    rows = feed_all([[each] for each in make_touchpoints(1_500)])
    early, late = sum(rows.written[200:400]) / 200, sum(rows.written[1_300:]) / 200
    assert late < early + DEFAULT_MAX_BLOCKS * (SHORT_ID_BYTES * BLOCK_SIZE + 30), "only the block list grows"
    assert max(rows.written) < 50 * (MIN_TAIL + 2 * BLOCK_SIZE) + 4 * 1_024 * 8


def test_older_touchpoints_than_the_kept_ones_are_late() -> None:
    touchpoints = make_touchpoints(1_500)
    unknown = Touchpoint(START - DAY, b"s" * 16, "erp", "order.placed", "web")
    rows = feed_all([touchpoints])
    kept = rows.touchpoints()
    assert kept == touchpoints[-len(kept) :]
    assert len(kept) == 1_500 - (count_full_blocks(1_500) - DEFAULT_MAX_BLOCKS) * BLOCK_SIZE
    assert len(kept) >= DEFAULT_MAX_BLOCKS * BLOCK_SIZE + MIN_TAIL
    before = (rows.row, dict(rows.blocks))
    rows.feed([unknown, touchpoints[0]])
    assert (rows.row, rows.blocks) == before
    assert rows.late == [unknown, touchpoints[0]]


@pytest.mark.parametrize(("before", "after"), [(16, 3), (3, 16), (1, 255)])
def test_bound_can_change_for_existing_rows(before: int, after: int) -> None:
    touchpoints = make_touchpoints(1_200)
    rows = Rows(max_blocks=before)
    rows.feed(touchpoints[:900])
    rows.max_blocks = after
    rows.feed(touchpoints[900:1_100])
    rows.feed(touchpoints[1_050:])
    kept = rows.touchpoints()
    assert kept == touchpoints[-len(kept) :]
    assert len(rows.blocks) == len(rows.customer().blocks) <= after
    assert len(kept) >= min(after, before + 4) * BLOCK_SIZE + MIN_TAIL


def test_new_blocks_reuse_the_slots_of_forgotten_ones() -> None:
    rows = Rows([], max_blocks=2)
    touchpoints = make_touchpoints(SLOT_COUNT * BLOCK_SIZE + 500)
    for start in range(0, len(touchpoints), 97):
        rows.feed(touchpoints[start : start + 97])
    assert rows.touchpoints() == touchpoints[-len(rows.touchpoints()) :]
    assert len(rows.blocks) == 2


def test_repetition_is_recognized_by_its_id_despite_another_time() -> None:
    rows = feed_all([make_touchpoints(700)])
    before = rows.row, dict(rows.blocks)
    rows.feed([msgspec.structs.replace(each, at=each.at + 9 * 365 * DAY) for each in make_touchpoints(700)])
    assert (rows.row, rows.blocks) == before


class Counting:
    """Signal with a configurable definition that counts, with a reading at every touchpoint."""

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


def test_changed_definition_folds_all_kept_touchpoints_again() -> None:
    touchpoints = make_touchpoints(300)
    rows = Rows([Counting("counting-1", 1)])
    rows.feed(touchpoints[:299])
    rows.signals = [Counting("counting-2", 2)]
    rows.feed(touchpoints[299:])
    new = Rows(rows.signals)
    new.feed(touchpoints)
    assert (rows.row, rows.blocks) == (new.row, new.blocks)
    values = {fields["at"]: fields["value"] for fields in rows.visible().values() if "value" in fields}
    assert max(values.values()) == 600


def test_changed_journey_definition_folds_again_and_keeps_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    touchpoints = make_touchpoints(300)
    rows = Rows()
    rows.feed(touchpoints[:299])
    for module in ("streams.steps.fold", "streams.journeys.journey"):
        monkeypatch.setattr(f"{module}.DEFINITION", "relationship-2")
    rows.feed(touchpoints[299:])
    journeys = [fields for fields in rows.visible().values() if "journey_id" in fields]
    counts = Counter[str]()
    for fields in journeys:
        counts[fields["definition"]] += fields["touchpoints"]
    assert counts == {"relationship-1": 299, "relationship-2": 300}
    assert rows.touchpoints() == touchpoints, "stages stay as they were on arrival"


def test_row_of_newer_software_raises_an_error_with_the_next_step() -> None:
    with pytest.raises(FatalError, match="layout 9, this software knows 1: update every worker"):
        decode_customer(b"\x09rest")


class LaterCustomer(Customer):
    """Row of a later version with one more field."""

    loyal: bool = False


def test_older_rows_are_read_after_a_field_was_added() -> None:
    older = Customer(folded=3, newest=(5, b"e" * 16), tail=b"x", states={"a": msgspec.Raw(b"\x01")})
    later = msgspec.msgpack.Decoder(LaterCustomer).decode(encode_row(older)[1:])
    assert not later.loyal
    assert [getattr(later, name) for name in Customer.__struct_fields__] == [
        getattr(older, name) for name in Customer.__struct_fields__
    ]
