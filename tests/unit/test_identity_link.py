"""The sequencer alone: limits, anonymous identifiers, unverified touchpoints, decisions, and the cost of shared values."""

from collections import Counter
from typing import Any

import pytest

from schemas.records.identifiers import identifier_id
from schemas.records.touchpoint import event_id
from schemas.wire.codec import decode, encode
from schemas.wire.topics import IDENTITY, RESOLVED
from streams.contract import Output, Record, Rows, StateError
from streams.identity.naming import Naming
from streams.identity.rows import MAX_MEMBERS
from streams.identity.rules import Rules
from streams.steps.identity import is_expired, read_copy_row
from streams.steps.link import Link

SECRET = b"secret of all unit tests"
MAX_ROW_BYTES = 64 * 1024
DAY = 86_400_000
Names = list[str]


def node(name: str) -> bytes:
    kind, _, value = name.rpartition(":")
    return identifier_id(SECRET, kind, value)


class Sequencer:
    """The link step on a store in memory. Names are `kind:value`."""

    def __init__(self, rules: Rules | None = None, secret: bytes = SECRET) -> None:
        self.step = Link(Naming(secret, rules or Rules()))
        self.store: dict[bytes, tuple[int, bytes]] = {}
        self.offset = 0
        self.members: dict[bytes, dict[str, Any]] = {}
        self.conflicts: list[dict[str, Any]] = []
        self.refused: list[str] = []

    def send(self, *values: bytes) -> list[Output]:
        records = [Record(*decode(value), value, at, self.offset + at) for at, value in enumerate(values)]
        self.offset += len(values)
        rows = Rows(lambda keys: [self.store.get(key) for key in keys])
        outputs = self.step.process(records, rows, lambda _, error: self.refused.append(error.reason))
        self.store.update((key, (self.offset - 1, row)) for key, row in rows.changes())
        for name, fields in (decode(each.value) for each in outputs if each.topic == IDENTITY):
            if name == "member":
                self.members[fields["identifier_id"]] = fields
            elif name == "conflict":
                self.conflicts.append(fields)
        return outputs

    def see(self, *names: str, verified: bool = True) -> list[Output]:
        """Send one touchpoint, and return its outputs."""
        return self.send(touchpoint(self.offset, names, verified=verified))

    def decide(self, action: str, left: Names, right: Names = [], undoes: int = 0, number: int = 1) -> list[Output]:  # noqa: B006
        fields = {"decision_id": bytes([number]) * 16, "action": action, "reason": "", "who": "", "confidence": 1.0, "at": 1}
        undone = bytes([undoes]) * 16 if undoes else None
        sides = {"left": list(map(node, left)), "right": list(map(node, right)), "undoes": undone}
        return self.send(encode("decision", {**fields, **sides}))

    def customers(self) -> set[frozenset[str]]:
        """Return the customers as sets of values."""
        found: dict[bytes, set[str]] = {}
        for fields in self.members.values():
            found.setdefault(fields["customer_id"], set()).add(fields["value"].rpartition("/")[2])
        return set(map(frozenset, found.values()))

    def owner(self, name: str) -> bytes:
        owner: bytes = self.members[node(name)]["customer_id"]
        return owner

    def reasons(self) -> Counter[str]:
        return Counter(each["reason"] for each in self.conflicts)


def touchpoint(number: int, names: tuple[str, ...] | Names, *, verified: bool = True) -> bytes:
    fields = {
        "event_id": event_id("test", str(number), "1").bytes,
        "source": "erp",
        "system": "test",
        "connector": "test",
        "type": "order.placed",
        "channel": "web",
        "occurred_at": number,
        "received_at": number,
        "identifiers": [dict(zip(("kind", "value"), name.rsplit(":", 1), strict=True)) for name in names],
        "attributes": {},
        "verified": verified,
    }
    return encode("erp", fields)


def sets(*texts: str) -> set[frozenset[str]]:
    return {frozenset(text.split()) for text in texts}


def test_customer_is_named_after_the_strongest_identifier_of_all() -> None:
    sequencer = Sequencer()
    sequencer.see("email:a", "cookie:t/x")
    assert sequencer.owner("cookie:t/x") == node("email:a")
    sequencer.see("email:a", "erp_party:t/1")
    assert {sequencer.owner(name) for name in ("cookie:t/x", "email:a", "erp_party:t/1")} == {node("erp_party:t/1")}


def test_two_people_on_one_browser_stay_two_customers() -> None:
    sequencer = Sequencer()
    sequencer.see("user_id:t/alice", "cookie:t/browser")
    sequencer.see("user_id:t/bob", "cookie:t/browser")
    assert sequencer.customers() == sets("alice", "bob", "browser")
    assert sequencer.reasons() == {"anonymous": 1}


def test_address_of_two_parties_of_one_system_links_neither_and_reports_it() -> None:
    sequencer = Sequencer()
    for party in "12":
        sequencer.see(f"erp_party:t/{party}", "email:info")
    assert sequencer.customers() == sets("1", "2", "info")
    assert sequencer.reasons() == {"shared_value": 2}


def test_customer_takes_no_more_addresses_than_the_limit() -> None:
    """Each address links to its neighbours only, so that the chain keeps the limit of each of them."""
    sequencer = Sequencer(Rules(limits={"email": 3}))
    for first, second in ("ab", "bc", "cd"):
        sequencer.see(f"email:{first}", f"email:{second}")
    assert sorted(map(len, sequencer.customers())) == [1, 3]


def test_unverified_touchpoint_joins_no_known_customers() -> None:
    sequencer = Sequencer()
    sequencer.see("email:a")
    sequencer.see("email:b")
    outputs = sequencer.see("email:a", "email:b", "cookie:t/x", verified=False)
    assert sequencer.customers() == sets("a x", "b") or sequencer.customers() == sets("b x", "a")
    assert sequencer.reasons() == {"unverified": 1}
    assert len(decode(outputs[-1].value)[1]["identifiers"]) == 2


def test_kind_that_may_not_merge_follows_one_customer_only() -> None:
    sequencer = Sequencer(Rules(merge_kinds=["email"]))
    sequencer.see("email:a", "phone:1")
    assert sequencer.customers() == sets("a 1")
    sequencer.see("email:b", "phone:1")
    assert sequencer.customers() == sets("a", "b", "1")


@pytest.mark.parametrize("name", ["email:info", "device:t/tablet", "user_id:t/guest"])
def test_value_of_thousands_of_strangers_costs_as_much_as_any_other(name: str) -> None:
    """Outputs, bytes and changed rows per touchpoint stay constant, and no row grows."""
    normal, sequencer, count = Sequencer(), Sequencer(), 4_000
    usual = [normal.see(f"erp_party:t/{number}", f"email:{number}") for number in range(100)]
    usual_bytes = sum(len(each.value) for outputs in usual for each in outputs) / 100
    costs = []
    for number in range(count):
        before = dict(sequencer.store) if number >= count - 200 else {}
        outputs = sequencer.see(f"erp_party:t/{number}", name)
        changed = [key for key, row in sequencer.store.items() if before.get(key) != row] if before else []
        costs.append((len(outputs), sum(len(each.value) for each in outputs), len(changed)))
    late = costs[-200:]
    assert {(outputs, rows) for outputs, _, rows in late} == {(4, 3)}
    assert max(size for _, size, _ in late) <= 3 * usual_bytes
    assert max(outputs for outputs, _, _ in costs) < 40
    assert max(len(row) for _, row in sequencer.store.values()) < 2_000
    owners = {fields["customer_id"] for fields in sequencer.members.values()}
    assert len(owners) == count + 1


def test_known_customers_who_all_bring_one_address_stay_apart() -> None:
    sequencer = Sequencer()
    for number in range(500):
        sequencer.see(f"erp_party:t/{number}", f"user_id:t/{number}")
    for number in range(500):
        outputs = sequencer.see(f"erp_party:t/{number}", "email:noreply")
        assert len(outputs) < 20
    assert len(sequencer.customers()) == 501
    assert max(len(row) for _, row in sequencer.store.values()) < 2_000


def test_group_that_is_full_takes_no_new_member() -> None:
    sequencer = Sequencer()
    for number in range(MAX_MEMBERS + 200):
        sequencer.see("email:a", f"cookie:t/{number}")
    sizes = Counter(fields["customer_id"] for fields in sequencer.members.values())
    assert MAX_MEMBERS <= sizes[node("email:a")] <= MAX_MEMBERS + 16
    assert sequencer.reasons()["group_full"] == MAX_MEMBERS + 201 - sizes[node("email:a")]
    assert max(len(row) for _, row in sequencer.store.values()) < MAX_ROW_BYTES
    before = len(sequencer.store)
    assert len(sequencer.see("email:a", "cookie:t/late")) == 4
    assert len(sequencer.store) == before + 2


def test_split_persists_against_the_same_evidence_and_an_undo_joins_again() -> None:
    sequencer = Sequencer()
    sequencer.see("user_id:t/1", "email:a")
    sequencer.see("user_id:t/1", "phone:2")
    before = sequencer.customers()
    sequencer.decide("split", ["user_id:t/1"], ["email:a"])
    sequencer.see("user_id:t/1", "email:a", "cookie:t/x")
    assert sequencer.customers() == sets("1 2", "a", "x")
    assert "split" in sequencer.reasons() or "anonymous" in sequencer.reasons()
    sequencer.decide("undo", [], undoes=1, number=2)
    assert sequencer.customers() == sets("1 2 a x")
    assert before == sets("1 2 a")


def test_repeated_decision_after_its_undo_changes_nothing() -> None:
    sequencer = Sequencer()
    sequencer.see("user_id:t/1", "email:a")
    sequencer.decide("split", ["user_id:t/1"], ["email:a"])
    sequencer.decide("undo", [], undoes=1, number=2)
    outputs = sequencer.decide("split", ["user_id:t/1"], ["email:a"])
    assert sequencer.customers() == sets("1 a")
    assert [decode(each.value)[0] for each in outputs] == ["decision"]


def test_join_by_hand_exceeds_a_limit_and_a_review_does_not() -> None:
    sequencer = Sequencer()
    sequencer.see("erp_party:t/1")
    sequencer.see("erp_party:t/2")
    sequencer.decide("review", ["erp_party:t/1"], ["erp_party:t/2"])
    assert sequencer.customers() == sets("1", "2")
    assert sequencer.reasons() == {"limit": 1}
    sequencer.decide("join", ["erp_party:t/1"], ["erp_party:t/2"], number=2)
    assert sequencer.customers() == sets("1 2")


def test_decision_about_an_unknown_identifier_takes_effect_with_its_first_touchpoint() -> None:
    sequencer = Sequencer()
    sequencer.see("email:a")
    sequencer.decide("join", ["email:a"], ["phone:1"])
    assert sequencer.customers() == sets("a")
    sequencer.see("phone:1")
    assert sequencer.customers() == sets("a 1")


def test_undo_of_an_unknown_decision_is_refused() -> None:
    sequencer = Sequencer()
    assert sequencer.decide("undo", [], undoes=9) == []
    assert sequencer.refused == ["unknown_decision"]


def test_erasure_clears_the_values_of_one_customer_and_drops_its_later_touchpoints() -> None:
    sequencer = Sequencer()
    sequencer.see("email:a", "phone:1")
    sequencer.see("email:b")
    owner = sequencer.owner("email:a")
    outputs = sequencer.decide("erase", ["email:a"])
    histories = [decode(each.value)[1] for each in outputs if each.topic == RESOLVED]
    assert [(each["customer_id"], each["is_first"], each["keep_existing"]) for each in histories] == [(owner, True, False)]
    erased = {fields["identifier_id"] for fields in sequencer.members.values() if fields["is_erased"] and not fields["value"]}
    assert erased == {node("email:a"), node("phone:1")}
    assert sequencer.see("phone:1", "email:c") == []
    assert sequencer.see("email:b") != []


def test_erasure_keeps_out_no_namesake_of_the_person() -> None:
    sequencer = Sequencer(Rules(compounds=("key:name",)))
    sequencer.see("email:a", "key:name:ann")
    sequencer.see("email:b", "key:name:ann")
    assert sequencer.owner("email:a") == sequencer.owner("email:b")
    sequencer.decide("erase", ["email:a"])
    assert sequencer.see("email:b") == []
    assert sequencer.see("email:c", "key:name:ann") != []
    assert sequencer.owner("email:c") == node("email:c")
    assert sequencer.members[node("key:name:ann")]["value"] == ""


def test_repeated_erasure_leaves_no_identifier_in_the_rows_of_the_sequencer() -> None:
    sequencer = Sequencer(Rules(compounds=("key:name",)))
    sequencer.see("email:ann@example.org", "erp_party:t/ann", "key:name:ann")
    sequencer.see("email:ann@example.org", "phone:1")
    for _ in range(2):
        sequencer.decide("erase", ["email:ann@example.org"])
    assert not any(b"ann" in row for _, row in sequencer.store.values())
    assert sequencer.see("email:ann@example.org") == []
    sequencer.see("email:bob@example.org", "key:name:ann")
    assert sequencer.owner("email:bob@example.org") == node("email:bob@example.org")


def test_erasure_of_an_identifier_that_never_came_keeps_it_out() -> None:
    sequencer = Sequencer()
    sequencer.decide("erase", ["email:a"])
    assert sequencer.members[node("email:a")]["is_erased"]
    assert sequencer.see("email:a", "phone:1") == []


def test_map_of_another_secret_ends_the_process() -> None:
    sequencer, other = Sequencer(), Sequencer(secret=b"another secret of a test")
    sequencer.see("email:a")
    other.store = sequencer.store
    with pytest.raises(StateError, match="TOUCHLINE_IDENTITY_SECRET"):
        other.see("email:a")


def test_copy_forgets_anonymous_identifiers_that_never_met_a_known_one() -> None:
    sequencer = Sequencer()
    outputs = [*sequencer.see("cookie:t/x", "device:t/y"), *sequencer.see("cookie:t/z", "email:a"), *sequencer.see("email:b")]
    rows = {each.key: read_copy_row(each.value) for each in outputs if each.topic == IDENTITY}
    expired = {key for key, row in rows.items() if row is not None and is_expired(row, 91 * DAY, 90)}
    assert {node("cookie:t/x"), node("device:t/y")} == {key[1:] for key in expired if key.startswith(b"n")}
    assert len(expired) == 3, "the evidence of both expires as well"
    assert not any(row is not None and is_expired(row, 90 * DAY, 90) for row in rows.values())


def test_sequencer_repeats_what_the_copy_may_have_forgotten() -> None:
    sequencer = Sequencer()
    first = sequencer.see("cookie:t/x", "device:t/y")
    again = sequencer.see("cookie:t/x", "device:t/y")
    assert {each.key for each in again if each.topic == IDENTITY} == {each.key for each in first if each.topic == IDENTITY}
    sequencer.see("email:a", "cookie:t/x")
    assert [each.topic for each in sequencer.see("email:a", "cookie:t/x")] == [RESOLVED]
