"""The model of the customers agrees with the pure steps of the workers, in random order with crashes."""

from typing import Any
from uuid import uuid4

import pytest

from schemas.records.identifiers import identifier_id
from schemas.records.identity import Action
from schemas.wire.codec import decode
from schemas.wire.topics import IDENTITY
from tests.crash.drops import Drops
from tests.crash.families import decide
from tests.crash.identity import Decision, Identifier
from tests.crash.model import Expected, expect_drops
from tests.harness.chain import SECRET, Chain, read_kept

FILES = 24


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    drops = Drops(tmp_path_factory.mktemp("drops"), seed=5)
    for _ in range(FILES):
        drops.drop()
    made = [found for family in range(drops.families) if (found := decide(family)) is not None]
    return expect_drops(drops.settings, Expected(SECRET, [decision for decision, is_undone in made if not is_undone]))


def ids(names: tuple[Identifier, ...]) -> list[bytes]:
    return [identifier_id(SECRET, *name) for name in names]


def decision(action: Action, made: Decision, undoes: bytes | None = None) -> dict[str, Any]:
    sides = {"left": ids(made.left), "right": ids(made.right)} if undoes is None else {"left": [], "right": []}
    texts = {"action": action, "reason": "", "who": "", "confidence": 1.0, "at": 1}
    return {**texts, **sides, "decision_id": uuid4().bytes, "undoes": undoes}


@pytest.mark.parametrize("seed", range(3))
def test_model_finds_the_customers_of_the_workers(expected: Expected, seed: int) -> None:
    chain = Chain(seed, crashes=True)
    touchpoints = list(expected.touchpoints.values())
    chain.chance.shuffle(touchpoints)
    for number, each in enumerate(touchpoints):
        chain.feed({name: value for name, value in each.items() if name != "stage"})
        if number % 50 == 0 and (found := decide(number // 50)) is not None and number // 50 < FILES // 2:
            made = decision(found[0].action, found[0])
            chain.decide(made)
            if found[1]:
                chain.decide(decision(Action.UNDO, found[0], made["decision_id"]))
    chain.run()
    people = expected.people()
    members = [decode(value)[1] for value in chain.topics[IDENTITY, 0] if decode(value)[0] == "member"]
    assert {(each["kind"], each["value"]): each["customer_id"] for each in members} == people.owners
    kept = {
        key: {each.id for each in read_kept(key, rows)}
        for (step, _), rows in chain.stores.items()
        if step == "join"
        for key in rows
        if len(key) == 16
    }
    assert {customer: ids for customer, ids in kept.items() if ids} == people.find_customers()


def owner(expected: Expected, kind: str, value: str) -> bytes:
    return expected.people().owners[kind, value]


def test_family_becomes_one_customer_with_the_id_of_its_party(expected: Expected) -> None:
    family = [("email", "first4@example.org"), ("email", "second4@example.org"), ("phone", "+49302000004"), ("device", "shop/d4")]
    assert {owner(expected, *name) for name in family} == {owner(expected, "erp_party", "shop/f4")}
    assert owner(expected, "erp_party", "shop/f4") == identifier_id(SECRET, "erp_party", "shop/f4")


def test_split_takes_an_address_and_the_device_that_follows_it(expected: Expected) -> None:
    second = identifier_id(SECRET, "email", "second0@example.org")
    assert owner(expected, "email", "second0@example.org") == owner(expected, "device", "shop/d0") == second
    assert owner(expected, "email", "first0@example.org") == owner(expected, "erp_party", "shop/f0") != second


def test_join_holds_and_undone_decisions_do_not(expected: Expected) -> None:
    assert owner(expected, "email", "third1@example.org") == owner(expected, "erp_party", "shop/f1")
    assert owner(expected, "email", "second2@example.org") == owner(expected, "erp_party", "shop/f2")
    assert owner(expected, "email", "third3@example.org") != owner(expected, "erp_party", "shop/f3")


@pytest.mark.parametrize("name", [("email", "desk0@example.org"), ("device", "shop/t0")])
def test_identifier_of_several_families_is_no_customer_of_theirs(expected: Expected, name: Identifier) -> None:
    assert list(expected.people().owners.values()).count(owner(expected, *name)) == 1
