"""Routes and rebuilds of the join step: any interleaving ends as if each touchpoint had come to its last customer at once."""

import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.service import telemetry
from schemas.wire.topics import CUSTOMERS, customer_partition
from streams.signals import load_signals
from streams.steps.customer import Customer, encode_row
from streams.steps.join import Join
from streams.steps.route import MAX_LOST, Route, add_lost, read_route
from streams.touchpoint import NODE_BYTES, Touchpoint
from tests.harness.joining import Joining

DAY = 86_400_000
START = 1_700_000_000_000
KINDS = ("order.placed", "payment.failed", "ticket.resolved", "contract.cancelled", "order.placed", "ticket.opened")
NODES = [blake2b(bytes([number]), digest_size=16).digest() for number in range(6)]
SEEDS = st.integers(0, 10**6)
Touchpoints = list[Touchpoint]


def make_touchpoints(count: int, seed: int) -> Touchpoints:
    """Return touchpoints in event-time order with one to three nodes, some years apart, some at the same millisecond."""
    chance, at, found = random.Random(seed), START, []
    for number in range(count):
        at += chance.choice((0, 1, DAY, 3 * DAY, 20 * DAY, 400 * DAY) if number % 40 == 0 else (0, 1, DAY))
        nodes = b"".join(node[:NODE_BYTES] for node in chance.sample(NODES, chance.randint(1, 3)))
        event_id = blake2b(number.to_bytes(4, "big"), key=seed.to_bytes(4, "big"), digest_size=16).digest()
        found.append(Touchpoint(at, event_id, "erp", chance.choice(KINDS), "web", "use", nodes=nodes))
    return sorted(found, key=Touchpoint.order_key)


class Owners:
    """State of the identity map: the customer of each node, the greatest node of its cluster. A shared node owns itself."""

    def __init__(self, chance: random.Random) -> None:
        self.shared = {node for node in NODES if chance.random() < 0.15}
        labels = {node: chance.randrange(3) for node in NODES}
        self.owner = {
            node: node
            if node in self.shared
            else max(other for other in NODES if labels[other] == labels[node] and other not in self.shared)
            for node in NODES
        }

    def find(self, each: Touchpoint) -> bytes:
        """Return the customer of a touchpoint, as the sequencer finds it."""
        nodes = [each.nodes[start : start + NODE_BYTES] for start in range(0, len(each.nodes), NODE_BYTES)]
        full = [next(node for node in NODES if node.startswith(short)) for short in nodes]
        return self.owner[next((node for node in full if node not in self.shared), full[0])]

    def route(self, customer_id: bytes) -> dict[str, Any]:
        current = self.owner[customer_id]
        exceptions = [
            {"identifier_id": node, "customer_id": owner}
            for node, owner in self.owner.items()
            if owner != current and node not in self.shared
        ]
        fields = {"customer_id": customer_id, "current": current, "shared": sorted(self.shared), "exceptions": exceptions}
        return {**fields, "rule": "test", "event_id": bytes(16), "at": START}


class World:
    """A join step behind an identity map that changes while touchpoints arrive."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.chance = random.Random(seed)
        self.joining = Joining(seed, **options)
        self.versions = [Owners(self.chance)]
        self.customers = set(self.versions[-1].owner.values())

    def change(self) -> None:
        """Change the map, and publish the routes of all customers so far."""
        self.versions.append(Owners(self.chance))
        self.customers |= set(self.versions[-1].owner.values())
        for customer_id in sorted(self.customers):
            self.joining.send("route", self.versions[-1].route(customer_id))

    def arrive(self, each: Touchpoint) -> None:
        """Resolve a touchpoint from a copy of the map that may be old."""
        self.joining.resolve(self.chance.choice(self.versions[-3:]).find(each), each)

    def owned(self, touchpoints: Iterable[Touchpoint]) -> dict[bytes, Touchpoints]:
        found: dict[bytes, Touchpoints] = {}
        for each in sorted(touchpoints, key=Touchpoint.order_key):
            found.setdefault(self.versions[-1].find(each), []).append(each)
        return found


def fold_directly(owned: dict[bytes, Touchpoints], kept: int) -> Joining:
    """Return the end state when each touchpoint comes to its customer once, in event-time order."""
    joining = Joining(kept=kept)
    for customer_id, touchpoints in owned.items():
        for each in touchpoints:
            joining.resolve(customer_id, each)
    joining.run()
    return joining


def assert_equal(found: Joining, expected: Joining) -> None:
    assert found.state() == expected.state()
    assert found.visible() == expected.visible()
    assert all(fields["is_complete"] for fields in found.announced().values())


def live(seed: int, count: int, changes: int, *, disorder: float, **options: Any) -> tuple[World, Touchpoints]:
    """Return a world after touchpoints and changes of the map in one random interleaving."""
    world, touchpoints = World(seed, **options), make_touchpoints(count, seed)
    arriving = sorted(range(count), key=lambda number: number + world.chance.uniform(0, disorder))
    events: list[Callable[[], None]] = [lambda each=touchpoints[number]: world.arrive(each) for number in arriving]  # type: ignore[misc]
    for _ in range(changes):
        events.insert(world.chance.randint(0, len(events)), world.change)
    for event in events:
        event()
        world.joining.run_some(world.chance.randint(0, 3))
    return world, touchpoints


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 120), changes=st.integers(0, 6), crashes=st.booleans())
def test_changing_routes_end_as_if_the_last_ones_had_always_held(seed: int, count: int, changes: int, *, crashes: bool) -> None:
    world, touchpoints = live(seed, count, changes, disorder=200, crashes=crashes)
    world.joining.run()
    assert_equal(world.joining, fold_directly(world.owned(touchpoints), 1024))


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    count=st.integers(60, 400),
    changes=st.integers(0, 5),
    disorder=st.sampled_from([0, 8, 400]),
    crashes=st.booleans(),
)
def test_complete_customer_beyond_the_bound_has_lost_nothing(
    seed: int, count: int, changes: int, disorder: int, *, crashes: bool
) -> None:
    world, touchpoints = live(seed, count, changes, disorder=disorder, crashes=crashes, kept=32, max_chunk=20)
    world.joining.run()
    owned = world.owned(touchpoints)
    expected, found = fold_directly(owned, 32), world.joining
    announced, state, visible = found.announced(), found.state(), found.visible()
    complete = {key for key in owned if key not in announced or announced[key]["is_complete"]}
    for key in complete:
        assert state[key] == expected.state()[key]
        assert not found.row(key).lost
    of_complete = {key: row for key, row in expected.visible().items() if row["customer_id"] in complete}
    assert {key: row for key, row in visible.items() if row["customer_id"] in complete} == of_complete


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    count=st.integers(1, 400),
    changes=st.integers(0, 5),
    size=st.sampled_from([1, 17, 100, 1000]),
    keep_existing=st.booleans(),
    crashes=st.booleans(),
)
def test_rebuild_ends_as_a_fresh_start(
    seed: int, count: int, changes: int, size: int, *, keep_existing: bool, crashes: bool
) -> None:
    world, touchpoints = live(seed, count, changes, disorder=100, crashes=crashes, kept=32, max_chunk=20)
    world.joining.run()
    owned = world.owned(touchpoints)
    for customer_id in sorted({*world.customers, *owned}):
        world.joining.rebuild(customer_id, owned.get(customer_id, []), size=size, keep_existing=keep_existing)
        world.joining.run_some(world.chance.randint(0, 3))
    world.joining.run()
    expected = fold_directly(owned, 32)
    assert world.joining.visible() == expected.visible()
    if crashes:  # a crash may move old touchpoints again, and a repetition beyond the bound looks late
        world.joining.crashes = False
        for customer_id, fields in world.joining.announced().items():
            if not fields["is_complete"]:
                world.joining.rebuild(customer_id, owned.get(customer_id, []), size=size, keep_existing=keep_existing)
        world.joining.run()
    assert_equal(world.joining, expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    count=st.integers(1, 300),
    later=st.integers(1, 60),
    size=st.sampled_from([1, 17, 100]),
    crashes=st.booleans(),
)
def test_touchpoints_that_arrive_during_a_rebuild_are_kept(
    seed: int, count: int, later: int, size: int, *, crashes: bool
) -> None:
    touchpoints, chance = make_touchpoints(count + later, seed), random.Random(seed)
    joining, customer_id = Joining(seed, crashes=crashes, kept=32, max_chunk=20), NODES[0]
    old, new = touchpoints[:count], touchpoints[count:]
    known = sorted(old, key=lambda _: chance.random()) if chance.random() < 0.5 else old
    for each in known:
        joining.resolve(customer_id, each)
    snapshot = sorted([*old, *new[: chance.randint(0, later)]], key=Touchpoint.order_key)
    parts = [snapshot[start : start + size] for start in range(0, len(snapshot), size)]
    for each in new[: len(snapshot) - count]:
        joining.resolve(customer_id, each)
    arriving = new[len(snapshot) - count :]
    for number, part in enumerate(parts):
        joining.send_part(customer_id, part, is_first=number == 0, is_last=number == len(parts) - 1, keep_existing=True)
        for _ in range(chance.randint(0, 8) if arriving else 0):
            if arriving:
                joining.resolve(customer_id, arriving.pop(0))
        joining.run_some(chance.randint(0, 1))
    for each in arriving:
        joining.resolve(customer_id, each)
    joining.run()
    assert_equal(joining, fold_directly({customer_id: touchpoints}, 32))


def route_fields(customer_id: bytes, current: bytes, exceptions: dict[bytes, bytes], shared: Sequence[bytes]) -> dict[str, Any]:
    listed = [{"identifier_id": node, "customer_id": owner} for node, owner in exceptions.items()]
    fields = {"customer_id": customer_id, "current": current, "shared": shared, "exceptions": listed}
    return {**fields, "rule": "test", "event_id": bytes(16), "at": START}


def of_node(node: bytes, touchpoints: Touchpoints) -> Touchpoints:
    return [msgspec.structs.replace(each, nodes=node[:NODE_BYTES]) for each in touchpoints]


A, B = sorted(NODES[:2])


def joined(touchpoints: Touchpoints, **options: Any) -> Joining:
    """Return a join step after the touchpoints of customer A."""
    joining = Joining(1, kept=32, **options)
    for each in touchpoints:
        joining.resolve(A, each)
    joining.run()
    return joining


def test_repeated_chunks_of_a_long_history_do_not_make_it_incomplete() -> None:
    joining = joined(make_touchpoints(300, 1), max_chunk=50)
    before = joining.state()
    joining.position.clear()
    joining.run()
    assert joining.state() == before
    assert not joining.announced()


def test_late_touchpoint_beyond_the_bound_makes_its_customer_incomplete_once() -> None:
    touchpoints = of_node(A, make_touchpoints(300, 1))
    joining = joined(touchpoints[2:], max_chunk=50)
    counted = telemetry.INCOMPLETE._value.get()
    for each in touchpoints[:2]:
        joining.resolve(A, each)
        joining.run()
    assert [(each["revision"], each["is_complete"]) for each in joining.published[CUSTOMERS]] == [(0, False)]
    assert telemetry.INCOMPLETE._value.get() == counted + 1
    assert joining.row(A).lost == (A[:NODE_BYTES],)


def test_route_that_takes_forgotten_touchpoints_only_asks_for_rebuilds_of_both_customers() -> None:
    touchpoints = make_touchpoints(300, 1)
    owned = {B: of_node(B, touchpoints[:100]), A: of_node(A, touchpoints[100:])}
    joining = joined([*owned[B], *owned[A]], max_chunk=50)
    joining.send("route", route_fields(A, A, {B: B}, []))
    joining.run()
    assert joining.announced()[A]["revision"] == 1
    assert [joining.announced()[each]["is_complete"] for each in (A, B)] == [False, False]
    assert [joining.row(each).lost for each in (A, B)] == [(A[:NODE_BYTES],), (B[:NODE_BYTES],)]
    for customer_id, own in owned.items():
        joining.rebuild(customer_id, own, size=90, keep_existing=True)
    joining.run()
    assert_equal(joining, fold_directly(owned, 32))


@pytest.mark.parametrize("keep_existing", [True, False])
def test_rebuild_keeps_touchpoints_that_it_does_not_have_if_asked_to(keep_existing: bool) -> None:  # noqa: FBT001
    touchpoints = make_touchpoints(300, 1)
    joining = joined(touchpoints)
    joining.rebuild(A, touchpoints[:280], size=100, keep_existing=keep_existing)
    joining.run()
    assert_equal(joining, fold_directly({A: touchpoints if keep_existing else touchpoints[:280]}, 32))


def test_repeated_rebuild_still_notes_the_late_touchpoint_that_follows_it() -> None:
    touchpoints = of_node(A, make_touchpoints(300, 1))
    joining = joined([], max_chunk=50)
    joining.rebuild(A, touchpoints[1:], size=500, keep_existing=False)
    joining.resolve(A, touchpoints[0])
    joining.run()
    assert not joining.announced()[A]["is_complete"]
    joining.position.clear()
    joining.run()
    assert not joining.announced()[A]["is_complete"]
    assert joining.row(A).lost == (A[:NODE_BYTES],)


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("crashes", [False, True])
def test_rebuild_with_a_missing_part_ends_as_incomplete(missing: int, *, crashes: bool) -> None:
    touchpoints = make_touchpoints(250, 1)
    joining = Joining(missing, crashes=crashes, kept=32, max_chunk=2)
    joining.rebuild(A, touchpoints, size=50, keep_existing=True)
    del joining.log[customer_partition(A)][missing]
    joining.run()
    assert not joining.announced()[A]["is_complete"]
    joining.rebuild(A, touchpoints, size=50, keep_existing=True)
    joining.run()
    assert joining.announced()[A]["is_complete"]
    assert_equal(joining, fold_directly({A: touchpoints}, 32))


def test_route_during_a_rebuild_leaves_the_rebuild_in_progress() -> None:
    touchpoints = make_touchpoints(400, 1)
    own, other = of_node(A, touchpoints[:390]), of_node(B, touchpoints[390:])
    joining = joined([*own[300:], *other])
    joining.send_part(A, own[:100], is_first=True, is_last=False, keep_existing=True)
    joining.send("route", route_fields(A, A, {B: B}, []))
    joining.send_part(A, own[100:300], is_first=False, is_last=False, keep_existing=True)
    joining.run()
    assert joining.row(A).replayed == own[299].order_key()
    joining.send_part(A, own[300:], is_first=False, is_last=True, keep_existing=True)
    joining.run()
    assert joining.announced()[A] == {
        "customer_id": A, "revision": 2, "is_complete": False, "touchpoints": joining.row(A).folded, "at": 0,
    }  # fmt: skip
    joining.rebuild(A, own, size=100, keep_existing=True)
    joining.run()
    assert_equal(joining, fold_directly({A: own, B: other}, 32))


def test_tick_after_a_replacement_reads_a_silent_customer_as_the_first_tick_does() -> None:
    touchpoints = [Touchpoint(START, b"t" * 16, "erp", "order.placed", "web")]
    joining, day = joined(touchpoints), START + 100 * DAY
    first = joining.tick(day, None)
    assert len(first) == 1
    assert joining.tick(day, day - 1) == [], "the risk is within the same hundredth"
    joining.now = day - 10
    joining.rebuild(A, touchpoints, size=10, keep_existing=False)
    joining.run()
    (again,) = joining.tick(day, day - 5)
    assert {**again, "version": 0} == {**first[0], "version": 0}
    assert again["version"] == joining.row(A).version() > first[0]["version"]
    assert joining.tick(day + 15, day + 10) == []
    assert joining.announced()[A]["at"] == day - 10


@pytest.mark.parametrize("size", [70, 500])
def test_rebuild_that_ends_before_a_forgotten_touchpoint_leaves_the_customer_incomplete(size: int) -> None:
    touchpoints = make_touchpoints(300, 1)
    joining = joined(touchpoints)
    for known, is_complete in ((100, False), (150, False), (290, True)):
        joining.rebuild(A, touchpoints[:known], size=size, keep_existing=True)
        joining.run()
        assert joining.announced()[A]["is_complete"] == is_complete
    assert_equal(joining, fold_directly({A: touchpoints}, 32))


@pytest.mark.parametrize("damaged", [b"\x01garbage", b"garbage", b"block"])
def test_rebuild_repairs_a_row_that_cannot_be_read(damaged: bytes) -> None:
    touchpoints = make_touchpoints(300, 1)
    joining = joined(touchpoints)
    store = joining.stores[customer_partition(A)]
    if damaged == b"block":
        store.update({key: (0, b"garbage") for key in store if key != A})
    else:
        store[A] = (0, damaged)
    joining.now = 1_800_000_000_000
    joining.rebuild(A, touchpoints, size=400, keep_existing=True)
    joining.run()
    assert_equal(joining, fold_directly({A: touchpoints}, 32))
    assert joining.row(A).version() < 2**64


def test_rebuild_without_touchpoints_empties_the_row() -> None:
    joining = joined(make_touchpoints(300, 1))
    joining.rebuild(A, [], size=100, keep_existing=False)
    joining.run()
    assert (joining.state(), joining.visible()) == ({}, {})
    assert (joining.announced()[A]["revision"], joining.announced()[A]["touchpoints"]) == (1, 0)


def test_more_live_touchpoints_than_the_slots_hold_end_a_rebuild_as_incomplete() -> None:
    touchpoints = of_node(A, make_touchpoints(10_000, 1))
    joining = joined([], max_chunk=2_000)
    joining.send_part(A, touchpoints[:100], is_first=True, is_last=False, keep_existing=True)
    for each in touchpoints[1_000:]:
        joining.resolve(A, each)
    joining.send_part(A, touchpoints[100:1_000], is_first=False, is_last=True, keep_existing=True)
    joining.run()
    assert not joining.announced()[A]["is_complete"]
    joining.rebuild(A, touchpoints, size=3_000, keep_existing=True)
    joining.run()
    assert_equal(joining, fold_directly({A: touchpoints}, 32))


def test_changed_definition_makes_customers_with_forgotten_touchpoints_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    touchpoints = make_touchpoints(301, 1)
    long, short = joined(touchpoints[:300]), joined(touchpoints[:30])
    for module in ("streams.steps.fold", "streams.journeys.journey"):
        monkeypatch.setattr(f"{module}.DEFINITION", "relationship-2")
    for joining, complete in ((long, False), (short, True)):
        joining.step = Join(load_signals(), 32)
        joining.resolve(A, touchpoints[300])
        joining.run()
        assert joining.row(A).is_complete() == complete
    long.rebuild(A, touchpoints, size=70, keep_existing=True)
    long.run()
    assert_equal(long, fold_directly({A: touchpoints}, 32))


def test_definition_that_changes_between_the_parts_of_a_rebuild_asks_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    touchpoints = make_touchpoints(400, 1)
    joining = joined([])
    joining.send_part(A, touchpoints[:200], is_first=True, is_last=False, keep_existing=True)
    joining.run()
    for module in ("streams.steps.fold", "streams.journeys.journey"):
        monkeypatch.setattr(f"{module}.DEFINITION", "relationship-2")
    joining.step = Join(load_signals(), 32)
    joining.send_part(A, touchpoints[200:], is_first=False, is_last=True, keep_existing=True)
    joining.run()
    assert not joining.announced()[A]["is_complete"]
    joining.rebuild(A, touchpoints, size=150, keep_existing=True)
    joining.run()
    assert_equal(joining, fold_directly({A: touchpoints}, 32))


def test_row_that_an_older_version_merged_away_forwards_to_the_other_customer() -> None:
    touchpoints = make_touchpoints(40, 1)
    joining = Joining(1)
    joining.stores[customer_partition(A)][A] = (0, encode_row(Customer(moved_to=B)))
    for each in touchpoints:
        joining.resolve(A, each)
    joining.run()
    assert joining.row(B) == fold_directly({B: touchpoints}, 1024).row(B)


def test_touchpoint_goes_to_the_owner_of_its_first_unshared_node() -> None:
    a, b, c, d = NODES[:4]
    route = read_route(route_fields(a, b, {c: d}, [a]))
    assert route is not None
    short = {node: node[:NODE_BYTES] for node in NODES}
    assert route.find_owner(short[a] + short[c]) == d
    assert route.find_owner(short[b] + short[c]) == b
    assert route.find_owner(short[a]) == a
    assert route.find_owner(b"") == b


def test_route_without_effect_is_not_stored() -> None:
    assert read_route(route_fields(A, A, {}, [])) is None
    assert read_route(route_fields(A, A, {}, [B])) is not None
    assert read_route(route_fields(A, B, {}, [])) == Route(B)


@given(st.lists(st.lists(st.binary(min_size=8, max_size=9), max_size=200), max_size=6))
@settings(max_examples=40, deadline=None)
def test_nodes_of_lost_touchpoints_are_bounded_and_independent_of_order(pieces: list[list[bytes]]) -> None:
    def add_all(pieces: Iterable[list[bytes]]) -> tuple[bytes, ...]:
        found: tuple[bytes, ...] = ()
        for piece in pieces:
            found = add_lost(found, piece)
        return found

    assert add_all(pieces) == add_all(reversed(pieces)) == add_lost([], [each for piece in pieces for each in piece])
    assert len(add_all(pieces)) <= MAX_LOST


@pytest.mark.parametrize("count", [50, 2_000])
def test_merge_and_split_leave_both_customers_as_before(count: int) -> None:
    owned = {A: of_node(A, make_touchpoints(count, 1)), B: of_node(B, make_touchpoints(count, 2))}
    joining = Joining(3, max_chunk=100)
    for customer_id, touchpoints in owned.items():
        for each in touchpoints:
            joining.resolve(customer_id, each)
    joining.run()
    joining.send("route", route_fields(A, B, {}, []))
    joining.run()
    is_long = count > 1_040
    assert joining.announced()[A]["is_complete"]
    assert (B in joining.announced()) == is_long, "the merged customer needs a rebuild when the other one had forgotten some"
    joining.send("route", route_fields(A, A, {B: B}, []))
    joining.send("route", route_fields(B, B, {A: A}, []))
    joining.run()
    if is_long:
        assert not joining.announced()[A]["is_complete"]
        for customer_id, touchpoints in owned.items():
            joining.rebuild(customer_id, touchpoints, size=300, keep_existing=True)
        joining.run()
    assert_equal(joining, fold_directly(owned, 1024))
