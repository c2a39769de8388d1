"""Properties of the chain over random touchpoints and interleavings: order, replays, crashes, identity, ticks."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.records.identifiers import identifier_id
from schemas.records.touchpoint import event_id
from schemas.wire.topics import CHURN, CUSTOMER_STATE, JOURNEYS, RESOLVED, SATISFACTION, TICKS
from streams.identity.naming import Naming
from streams.identity.rules import Rules
from tests.harness.chain import SECRET, Chain

DAY = 86_400_000
START = 1_700_000_000_000
TYPES = {
    "erp": ["order.placed", "payment.received", "payment.failed"],
    "crm": ["inquiry.received", "contract.cancelled", "contract.renewed"],
    "support": ["ticket.opened", "ticket.reopened", "ticket.resolved"],
    "inventory": ["stock.out", "shipment.delayed", "delivery.completed"],
}


NAMES = (
    *(("email", name) for name in "abcdef"),
    *(("erp_party", f"test/{name}") for name in "pq"),
    *(("user_id", f"test/{name}") for name in "uvw"),
    *(("cookie", f"test/{name}") for name in "xyz"),
)
RULES = Rules(limits={"email": 3, "erp_party": 1}, anonymous_limit=2, anonymous_neighbours=2)
NAMING = Naming(SECRET, RULES)


def touchpoint(
    number: int, day: int, source: str, kind: int, identifiers: list[tuple[str, str]], verified: int = 1
) -> dict[str, Any]:
    return {
        "event_id": event_id("test", str(number), "1").bytes,
        "source": source,
        "system": "test",
        "connector": "test",
        "type": TYPES[source][kind],
        "channel": "web",
        "occurred_at": START + day * DAY,
        "received_at": START + 1_000 * DAY,
        "identifiers": [{"kind": kind, "value": value} for kind, value in identifiers],
        "attributes": {},
        "verified": bool(verified),
    }


TOUCHPOINTS = st.lists(
    st.tuples(
        st.integers(0, 800),
        st.sampled_from(sorted(TYPES)),
        st.integers(0, 2),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=25,
).map(lambda rows: [touchpoint(number, *row) for number, row in enumerate(rows)])


def decision(number: int, action: str, left: list[int], right: list[int], undoes: int | None = None) -> dict[str, Any]:
    return {
        "decision_id": bytes((number,)) * 16,
        "action": action,
        "left": [identifier_id(SECRET, *NAMES[each]) for each in left],
        "right": [identifier_id(SECRET, *NAMES[each]) for each in right],
        "undoes": None if undoes is None else bytes((undoes,)) * 16,
        "reason": "test",
        "who": "test",
        "confidence": 1.0,
        "at": START,
    }


SIDES = st.lists(st.integers(0, len(NAMES) - 1), min_size=1, max_size=2, unique=True)
DECISIONS = st.lists(st.tuples(st.sampled_from(["split", "join", "review"]), SIDES, SIDES), max_size=3).map(
    lambda rows: [decision(number, *row) for number, row in enumerate(rows)]
)


def run(
    touchpoints: list[dict[str, Any]], seed: int, decisions: Sequence[dict[str, Any]] = (), *, crashes: bool = False
) -> Chain:
    """Run the touchpoints in order, then the decisions."""
    chain = Chain(seed, crashes=crashes, naming=NAMING)
    for fields in touchpoints:
        chain.feed(fields)
    chain.run()
    for fields in decisions:
        chain.decide(fields)
        chain.run()
    return chain


def customers(chain: Chain) -> dict[bytes, tuple[bytes, bool]]:
    """Return customer and flag of each identifier."""
    return {id_: (fields["customer_id"], fields["is_shared"]) for id_, fields in chain.members().items()}


def owned_touchpoints(chain: Chain) -> dict[bytes, list[bytes]]:
    """Return the touchpoints of each customer that has any."""
    return {customer: ids for customer, kept in chain.touchpoints().items() if (ids := [each.id for each in kept])}


def assert_equal(first: Chain, second: Chain) -> None:
    """Check that two runs end in the same customers, with the same ids, touchpoints and readings."""
    assert customers(first) == customers(second)
    assert owned_touchpoints(first) == owned_touchpoints(second)
    for topic, key in ((JOURNEYS, "journey_id"), (SATISFACTION, "reading_id"), (CHURN, "reading_id")):
        assert first.newest(topic, key) == second.newest(topic, key), topic


@settings(max_examples=60, deadline=None)
@given(TOUCHPOINTS, DECISIONS, st.randoms(use_true_random=False), st.integers(0, 99), st.integers(0, 99))
def test_any_order_and_duplication_ends_in_the_same_customers_and_rows(
    touchpoints: list[dict[str, Any]], decisions: list[dict[str, Any]], chance: Any, seed: int, other: int
) -> None:
    shuffled = [*touchpoints, *chance.sample(touchpoints, k=len(touchpoints) // 2)]
    chance.shuffle(shuffled)
    first, second = run(touchpoints, seed, decisions), run(shuffled, other, decisions)
    assert_equal(first, second)
    assert not first.refused


@settings(max_examples=60, deadline=None)
@given(TOUCHPOINTS, DECISIONS, st.integers(0, 99))
def test_each_touchpoint_is_with_the_owner_of_its_strongest_unshared_identifier(
    touchpoints: list[dict[str, Any]], decisions: list[dict[str, Any]], seed: int
) -> None:
    chain = run(touchpoints, seed, decisions)
    found = {id_: customer for customer, ids in owned_touchpoints(chain).items() for id_ in ids}
    assert found == {fields["event_id"]: chain.owner_of(fields) for fields in touchpoints}


PLAIN = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(PLAIN, st.integers(0, 99))
def test_touchpoints_with_a_common_identifier_have_one_customer(names: list[list[str]], seed: int) -> None:
    """Five addresses keep every limit, so that only common identifiers count."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for first, *rest in names:
        for other in rest:
            parent[root(other)] = root(first)
    touchpoints = [touchpoint(number, number, "erp", 0, [("email", each) for each in row]) for number, row in enumerate(names)]
    chain = Chain(seed)
    for fields in touchpoints:
        chain.feed(fields)
    chain.run()
    expected = {fields["event_id"]: root(fields["identifiers"][0]["value"]) for fields in touchpoints}
    found = {id_: customer for customer, ids in owned_touchpoints(chain).items() for id_ in ids}
    assert found.keys() == expected.keys()
    assert len(set(found.values())) == len(set(expected.values()))
    assert len({(found[id_], expected[id_]) for id_ in found}) == len(set(found.values()))


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
    stored = chain.rows()
    for at in list(chain.position):
        chain.position[at] = max(0, chain.position[at] - back)
    chain.run()
    assert {topic: chain.newest(topic, key) for topic, key in ((JOURNEYS, "journey_id"), (CHURN, "reading_id"))} == before
    assert stored == chain.rows()


RETRACTED_BY_A_CRASHED_ATTEMPT = [
    (0, "erp", 0, ["a"]), (0, "erp", 0, ["b"]), (0, "inventory", 0, ["a"]), (0, "erp", 0, ["a"]), (0, "support", 0, ["a"]),
    (1, "crm", 1, ["f", "d"]), (0, "crm", 1, ["b"]), (2, "crm", 0, ["b"]), (0, "crm", 0, ["d", "b"]),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TOUCHPOINTS, DECISIONS, st.integers(0, 999))
@example(
    [
        touchpoint(number, day, source, kind, [("email", name) for name in names])
        for number, (day, source, kind, names) in enumerate(RETRACTED_BY_A_CRASHED_ATTEMPT)
    ],
    [],
    759,
)
def test_crashes_between_changelog_rows_end_in_the_same_customers_and_rows(
    touchpoints: list[dict[str, Any]], decisions: list[dict[str, Any]], seed: int
) -> None:
    assert_equal(run(touchpoints, seed, decisions), run(touchpoints, seed, decisions, crashes=True))


@settings(max_examples=60, deadline=None)
@given(TOUCHPOINTS, DECISIONS, TOUCHPOINTS, st.integers(0, 99), st.booleans())
def test_undone_decisions_end_as_if_they_had_never_been(
    touchpoints: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    later: list[dict[str, Any]],
    seed: int,
    crashes: bool,  # noqa: FBT001
) -> None:
    """Also with evidence that arrives while they hold, and with the same evidence again after the undo."""
    while_held = [{**fields, "event_id": event_id("test", fields["event_id"].hex(), "2").bytes} for fields in later]
    plain = run([*touchpoints, *while_held], seed)
    chain = run(touchpoints, seed, decisions, crashes=crashes)
    for fields in while_held:
        chain.feed(fields)
    chain.run()
    for number, each in enumerate(decisions, 100):
        chain.decide(decision(number, "undo", [], [], each["decision_id"][0]))
    chain.feed(touchpoints[0])
    chain.run()
    assert_equal(plain, chain)
    assert customer_rows(plain) == customer_rows(chain)


def customer_rows(chain: Chain) -> dict[tuple[str, int], dict[bytes, bytes]]:
    return {at: rows for at, rows in chain.rows().items() if at[0] == "join"}


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
    again = Chain(other, naming=NAMING)
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
    chain = run([touchpoint(day, day * 7, "erp", 0, [("email", "a")]) for day in range(10)], 1)
    for day in (70, 100, 160):
        chain.tick(START + day * DAY)
    chain.run()
    risks = [row["value"] for row in sorted(chain.newest(CHURN, "reading_id").values(), key=lambda row: row["at"])]
    assert risks[-3:] == sorted(risks[-3:])
    assert risks[-1] > risks[-4] + 0.2


def test_tick_brings_no_reading_within_the_same_hundredth_of_risk() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, [("email", "a")])], 1)
    before = len(chain.values(CHURN))
    chain.tick(START + 2 * DAY + 1, since=START + 2 * DAY)
    chain.run()
    assert len(chain.values(CHURN)) == before


def test_no_tick_brings_a_reading_long_after_the_last_purchase() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, [("email", "a")])], 1)
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


def test_customer_is_named_after_its_identifier_and_join_writes_the_customer_state_topic() -> None:
    chain = run([touchpoint(1, 0, "erp", 0, [("email", "a")])], 1)
    assert chain.values(JOURNEYS)[0]["customer_id"] == identifier_id(SECRET, "email", "a")
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
