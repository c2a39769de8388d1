"""Properties of the chain over random touchpoints and interleavings: order, replays, crashes, identity, ticks."""

import random
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.records.touchpoint import event_id
from schemas.wire.topics import CHURN, CUSTOMER_STATE, JOURNEYS, RESOLVED, SATISFACTION, TICKS
from tests.harness.chain import Chain

DAY = 86_400_000
START = 1_700_000_000_000
TYPES = {
    "erp": ["order.placed", "payment.received", "payment.failed"],
    "crm": ["inquiry.received", "contract.cancelled", "contract.renewed"],
    "support": ["ticket.opened", "ticket.reopened", "ticket.resolved"],
    "inventory": ["stock.out", "shipment.delayed", "delivery.completed"],
}


def touchpoint(number: int, day: int, source: str, kind: int, identifiers: list[str]) -> dict[str, Any]:
    return {
        "event_id": event_id("test", str(number), "1").bytes,
        "source": source,
        "system": "test",
        "connector": "test",
        "type": TYPES[source][kind],
        "channel": "web",
        "occurred_at": START + day * DAY,
        "received_at": START + 1_000 * DAY,
        "identifiers": [{"kind": "email", "value": identifier} for identifier in identifiers],
        "attributes": {},
    }


TOUCHPOINTS = st.lists(
    st.tuples(
        st.integers(0, 800),
        st.sampled_from(sorted(TYPES)),
        st.integers(0, 2),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=2, unique=True),
    ),
    min_size=1,
    max_size=25,
).map(lambda rows: [touchpoint(number, *row) for number, row in enumerate(rows)])


def run(touchpoints: list[dict[str, Any]], seed: int, *, crashes: bool = False) -> Chain:
    chain = Chain(seed, crashes=crashes)
    for fields in touchpoints:
        chain.feed(fields)
    chain.run()
    return chain


def comparable_rows(chain: Chain, topic: str, key: str) -> list[tuple[Any, ...]]:
    """Return the newest rows without customer ids, which depend on the order, and without rows of merged customers."""
    merged = chain.canonical_customers()
    rows = [row for row in chain.newest(topic, key).values() if row["customer_id"] not in merged]
    return sorted(
        tuple(sorted((name, repr(value)) for name, value in row.items() if name not in ("customer_id", key))) for row in rows
    )


@settings(max_examples=60, deadline=None)
@given(TOUCHPOINTS, st.randoms(use_true_random=False), st.integers(0, 99), st.integers(0, 99))
def test_any_order_and_duplication_ends_in_the_same_rows(
    touchpoints: list[dict[str, Any]], chance: Any, seed: int, other: int
) -> None:
    shuffled = [*touchpoints, *chance.sample(touchpoints, k=len(touchpoints) // 2)]
    chance.shuffle(shuffled)
    first, second = run(touchpoints, seed), run(shuffled, other)
    for topic, key in ((JOURNEYS, "journey_id"), (SATISFACTION, "reading_id"), (CHURN, "reading_id")):
        assert comparable_rows(first, topic, key) == comparable_rows(second, topic, key), topic
    assert not first.refused


@settings(max_examples=60, deadline=None)
@given(TOUCHPOINTS, st.integers(0, 99))
def test_touchpoints_with_a_common_identifier_have_one_customer(touchpoints: list[dict[str, Any]], seed: int) -> None:
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for fields in touchpoints:
        first, *rest = [identifier["value"] for identifier in fields["identifiers"]]
        for other in rest:
            parent[root(other)] = root(first)
    chain = run(touchpoints, seed)
    expected = {fields["event_id"]: root(fields["identifiers"][0]["value"]) for fields in touchpoints}
    found = {event: chain.customer_of(event) for event in expected}
    assert len(set(found.values())) == len(set(expected.values()))
    assert len(set(zip(found.values(), expected.values(), strict=True))) == len(set(found.values()))


@settings(max_examples=40, deadline=None)
@given(TOUCHPOINTS, st.integers(0, 99))
def test_each_touchpoint_is_in_exactly_one_canonical_row(touchpoints: list[dict[str, Any]], seed: int) -> None:
    chain = run(touchpoints, seed)
    found = sorted(each.id for touchpoints in chain.touchpoints().values() for each in touchpoints)
    assert found == sorted(fields["event_id"] for fields in touchpoints)


@settings(max_examples=40, deadline=None)
@given(TOUCHPOINTS, st.integers(0, 99), st.integers(1, 25))
def test_replay_of_any_part_of_the_log_changes_nothing(touchpoints: list[dict[str, Any]], seed: int, back: int) -> None:
    chain = run(touchpoints, seed)
    before = {topic: chain.newest(topic, key) for topic, key in ((JOURNEYS, "journey_id"), (CHURN, "reading_id"))}
    stored = {at: dict(store) for at, store in chain.stores.items()}
    for at in list(chain.position):
        chain.position[at] = max(0, chain.position[at] - back)
    chain.run()
    assert {topic: chain.newest(topic, key) for topic, key in ((JOURNEYS, "journey_id"), (CHURN, "reading_id"))} == before
    assert stored == {at: dict(store) for at, store in chain.stores.items()}


RETRACTED_BY_A_CRASHED_ATTEMPT = [
    (0, "erp", 0, ["a"]), (0, "erp", 0, ["b"]), (0, "inventory", 0, ["a"]), (0, "erp", 0, ["a"]), (0, "support", 0, ["a"]),
    (1, "crm", 1, ["f", "d"]), (0, "crm", 1, ["b"]), (2, "crm", 0, ["b"]), (0, "crm", 0, ["d", "b"]),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TOUCHPOINTS, st.integers(0, 999))
@example([touchpoint(number, *row) for number, row in enumerate(RETRACTED_BY_A_CRASHED_ATTEMPT)], 759)
def test_crashes_between_changelog_rows_end_in_the_same_rows(touchpoints: list[dict[str, Any]], seed: int) -> None:
    calm, crashed = run(touchpoints, seed), run(touchpoints, seed, crashes=True)
    for topic, key in ((JOURNEYS, "journey_id"), (SATISFACTION, "reading_id"), (CHURN, "reading_id")):
        assert comparable_rows(calm, topic, key) == comparable_rows(crashed, topic, key), topic
    merges = crashed.canonical_customers()
    assert not set(merges) & set(merges.values()), "a merge points at a merged customer"


@settings(max_examples=30, deadline=None)
@given(TOUCHPOINTS, st.integers(0, 99), st.integers(0, 99), st.lists(st.integers(1, 900), min_size=1, max_size=6, unique=True))
def test_replay_of_the_same_log_with_the_same_ticks_gives_the_same_rows(
    touchpoints: list[dict[str, Any]], seed: int, other: int, days: list[int]
) -> None:
    """Each tick follows the same touchpoints as before; chunks are cut at other places."""
    first = run(touchpoints, seed)
    for since, day in pairwise([None, *sorted(days)]):
        assert day is not None
        first.tick(START + day * DAY, None if since is None else START + since * DAY)
        first.run()
    again = Chain(other)
    for at, log in first.topics.items():
        if at[0] in (RESOLVED, TICKS):
            again.topics[at] = list(log)
    resolved = [at for at in again.topics if at[0] == RESOLVED]
    while waiting := [at for at in resolved if again.position[at] < len(again.topics[at])]:
        again.process_chunk(again.chance.choice(waiting))
    again.run()
    assert {at: row for at, row in first.stores.items() if at[0] == "join"} == {
        at: row for at, row in again.stores.items() if at[0] == "join"
    }
    for topic in (CHURN, SATISFACTION):
        assert again.newest(topic, "reading_id") == first.newest(topic, "reading_id")


def test_silence_raises_the_risk_without_any_touchpoint() -> None:
    chain = run([touchpoint(day, day * 7, "erp", 0, ["a"]) for day in range(10)], 1)
    for day in (70, 100, 160):
        chain.tick(START + day * DAY)
    chain.run()
    risks = [row["value"] for row in sorted(chain.newest(CHURN, "reading_id").values(), key=lambda row: row["at"])]
    assert risks[-3:] == sorted(risks[-3:])
    assert risks[-1] > risks[-4] + 0.2


def test_tick_brings_no_reading_within_the_same_hundredth_of_risk() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, ["a"])], 1)
    before = len(chain.values(CHURN))
    chain.tick(START + 2 * DAY + 1, since=START + 2 * DAY)
    chain.run()
    assert len(chain.values(CHURN)) == before


def test_no_tick_brings_a_reading_long_after_the_last_purchase() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, ["a"])], 1)
    chain.tick(START + 400 * DAY, since=START + 200 * DAY)
    chain.run()
    after_first_tick = len(chain.values(CHURN))
    chain.tick(START + 900 * DAY, since=START + 400 * DAY)
    chain.run()
    assert (after_first_tick, len(chain.values(CHURN))) == (2, 2)


def test_record_of_another_schema_is_refused_and_not_lost() -> None:
    from schemas.wire.codec import encode

    chain = Chain()
    chain.topics["touchline.erp", 0].append(encode("tick", {"at": 1, "since": None}))
    chain.run()
    assert [error.reason for _, error in chain.refused] == ["unexpected_schema"]


def test_customer_ids_are_uuid5_and_join_writes_the_customer_state_topic() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, ["a"])], 1)
    assert UUID(bytes=chain.values(JOURNEYS)[0]["customer_id"]).version == 5
    assert chain.step_of["touchline.resolved"].changelog == CUSTOMER_STATE


@pytest.mark.parametrize("seed", range(5))
def test_history_of_several_blocks_survives_crashes_in_the_changelog(seed: int) -> None:
    chance = random.Random(seed)
    sent: list[dict[str, Any]] = [
        {
            "event_id": event_id("test", str(number), "1").bytes,
            "source": "erp",
            "system": "test",
            "connector": "test",
            "type": "order.placed",
            "channel": "web",
            "occurred_at": 1_760_000_000_000 + chance.randrange(10**10),
            "received_at": 1_780_000_000_000,
            "identifiers": [{"kind": "email", "value": "a@example.org"}],
            "attributes": {},
        }
        for number in range(260)
    ]
    found = [each.id for kept in run(sent, seed, crashes=True).touchpoints().values() for each in kept]
    assert sorted(found) == sorted(fields["event_id"] for fields in sent)
