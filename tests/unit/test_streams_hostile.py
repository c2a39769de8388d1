"""Any record of any released schema, in any topic of the chain: a stage publishes something or makes a dead letter."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.wire import registry
from schemas.wire.codec import HEADER, decode, encode
from schemas.wire.topics import DEAD_LETTERS, RESOLVED, TICKS
from streams.contract import Output, Step
from streams.engine.stage import Stage
from streams.identity.naming import Naming
from streams.identity.rules import Rules
from streams.signals import load_signals
from streams.steps.customer import Customer, encode_row
from streams.steps.identify import Identify
from streams.steps.identity import ANONYMOUS_RULE, is_expired, read_copy_row
from streams.steps.join import Join
from streams.steps.link import Link
from streams.touchpoint import Touchpoint, encode_touchpoints
from tests.harness.avro_values import SCHEMA, values, written

CUSTOMERS = [b"a" * 16, b"b" * 16]
COPY: dict[bytes, bytes] = {}
NAMING = Naming(b"secret of all unit tests", Rules())
STEPS: dict[str, Step] = {"identify": Identify(COPY.get, NAMING), "link": Link(NAMING), "join": Join(load_signals())}


class Memory:
    """Producer and store of one stage in memory."""

    def __init__(self) -> None:
        self.published: list[Output] = []
        self.rows: dict[bytes, bytes] = {}

    async def publish(self, outputs: list[Output]) -> int:
        self.published += outputs
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[tuple[bytes, bytes]], prefix: int) -> tuple[int, int]:
        return 0, len(rows) - 1

    def recovered_offset(self, partition: int) -> int:
        return -1

    def is_next(self, partition: int, offset: int) -> bool:
        return True

    def write(self, partition: int, rows: list[tuple[bytes, bytes]], offset: int) -> None:
        self.rows.update((key, value[8:]) for key, value in rows)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        return [(-1, self.rows[key]) if self.rows.get(key) else None for key in keys]

    def scan(self, partition: int) -> Any:
        return iter(sorted(self.rows.items()))

    def reasons(self) -> list[str]:
        return [decode(each.value)[1]["reason"] for each in self.published if each.topic == DEAD_LETTERS]


def process(step: Step, memory: Memory, values: list[bytes], topic: str = RESOLVED) -> None:
    records = [
        SimpleNamespace(key=b"k", value=value, topic=topic, partition=0, offset=offset, timestamp=0, headers=())
        for offset, value in enumerate(values)
    ]
    either: Any = lambda: memory  # noqa: E731 - the fake is store and producer
    asyncio.run(Stage(step, either, either).process_chunk(records, 0))


times = st.integers(-(2**63), 2**63 - 1)
texts = st.none() | st.text(max_size=20)
numbers = st.none() | st.floats()
touchpoints = st.builds(
    Touchpoint,
    at=times,
    id=st.binary(max_size=20),
    source=st.sampled_from(["erp", "feedback", "support", ""]),
    type=st.sampled_from(["order.placed", "survey.answered", "ticket.closed", "x"]),
    channel=st.text(max_size=5),
    metric=st.sampled_from([None, "nps", "csat", "ces", "x"]),
    answer=numbers,
    scale_low=st.none() | times,
    scale_high=st.none() | times,
    rating=numbers,
    amount=st.none() | times,
    order_id=texts,
    delay_days=numbers,
    wait_seconds=numbers,
)


def customers_of(fields: dict[str, Any], chance: Any) -> dict[str, Any]:
    """Return the fields with customers of these tests, so that records meet."""
    named = {name for name in fields if name in ("customer_id", "from_customer", "to_customer", "current", "customer")}
    return {name: chance.choice(CUSTOMERS) if name in named else value for name, value in fields.items()}


@SCHEMA
@settings(max_examples=15)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_no_record_of_a_released_schema_ends_a_stage(schema_id: int, data: st.DataObject, chance: Any) -> None:
    shape = values(registry.load_schema(schema_id))
    records = []
    for fields in data.draw(st.lists(shape, min_size=1, max_size=3)):
        changed = customers_of(fields, chance)
        for name in ("seen", "touchpoints"):
            if isinstance(changed.get(name), bytes) and chance.random() < 0.7:
                some = data.draw(st.lists(touchpoints, min_size=1, max_size=3))
                changed[name] = encode_touchpoints(some[0] if name == "seen" else some)
        records.append(HEADER.pack(0, schema_id) + written(schema_id, changed))
    for step in STEPS.values():
        memory = Memory()
        process(step, memory, records)
        process(step, memory, records)


@pytest.mark.parametrize("name", ["member", "evidence"])
@given(data=st.data())
def test_copy_takes_every_member_and_evidence_at_any_time(name: str, data: st.DataObject) -> None:
    fields = data.draw(values(registry.load_schema(registry.newest_ids()[name])))
    fields["rule"] = data.draw(st.sampled_from([ANONYMOUS_RULE, "exact"]))
    row = read_copy_row(encode(name, fields))
    assert row is not None
    is_expired(row, data.draw(times), 90)


@given(st.lists(st.tuples(st.sampled_from(CUSTOMERS), touchpoints), min_size=1, max_size=5), times, st.none() | times)
def test_no_touchpoint_and_no_tick_ends_join(seen: list[tuple[bytes, Touchpoint]], at: int, since: int | None) -> None:
    memory = Memory()
    carried = {"stage": "", "touchpoint": b""}
    records = [encode("resolved", {"customer_id": one, "seen": encode_touchpoints(each), **carried}) for one, each in seen]
    process(STEPS["join"], memory, records)
    process(STEPS["join"], memory, [encode("tick", {"at": at, "since": since})], TICKS)


@pytest.mark.parametrize("junk", [b"j", b"junk of some other program", b"\x01junk", encode_row(Customer())[:-1]])
def test_unreadable_state_row_makes_dead_letters_of_its_customer_alone(junk: bytes) -> None:
    """A tick reads all rows of a partition; one unreadable row must not hide the others from it."""
    memory = Memory()
    touchpoint = encode_touchpoints(Touchpoint(1_000, b"i" * 16, "erp", "order.placed", "web"))
    records = [
        encode("resolved", {"customer_id": each, "stage": "", "seen": touchpoint, "touchpoint": b""}) for each in CUSTOMERS
    ]
    memory.rows[CUSTOMERS[0]] = junk
    process(STEPS["join"], memory, records)
    assert len(memory.reasons()) == 1
    assert set(memory.reasons()) <= {"unreadable_state", "unprocessable"}
    assert memory.rows[CUSTOMERS[0]] == junk
    assert memory.rows[CUSTOMERS[1]] != junk
    memory.published.clear()
    process(STEPS["join"], memory, [encode("tick", {"at": 86_400_000 * 400, "since": None})], TICKS)
    assert memory.reasons() == []
    assert {each.key for each in memory.published} == {CUSTOMERS[1]}
