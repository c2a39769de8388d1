"""Plans of decisions, their results, and the records that the sequencer answers with."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.identity.decisions import Collector, Outcome, Position, describe_delay, make_decision, read_user_name
from deploy.identity.plan import divide, evaluate, explain_failure, plan_join, plan_split, plan_undo
from schemas.errors import ConfigError
from schemas.records.fields import instant
from schemas.records.identity import Action, Conflict, ConflictReason, Decision, Member
from schemas.wire.codec import encode_model
from tests.harness.identity import make_decision_row, make_identifier, make_identity

WHY: Any = {"reason": "two people", "who": "ann"}
AT = instant(1_790_000_000_000)


def make_member(identifier: UUID, customer: UUID) -> Member:
    return Member(
        identifier_id=identifier, kind="email", value="a@b.c", customer_id=customer, is_shared=False, is_erased=False,
        rule="exact", event_id=uuid4(), at=AT,
    )  # fmt: skip


def make_conflict_record(one: UUID, other: UUID, reason: ConflictReason) -> Conflict:
    return Conflict(
        conflict_id=uuid4(), reason=reason, identifier_id=one, kind="email", value="a@b.c", other_id=other, other_kind="phone",
        other_value="+49", customer_id=uuid4(), other_customer=uuid4(), event_id=uuid4(), at=AT,
    )  # fmt: skip


def test_split_keeps_chosen_identifiers_apart_from_all_others() -> None:
    identity = make_identity("erp_party:sap/1", "email:ann@example.com", "phone:+49151234567")
    chosen = identity.identifiers[1].identifier_id
    decision = plan_split(*divide(identity, [chosen]), **WHY)
    assert decision.action == "split"
    assert decision.left == [chosen]
    assert decision.right == [identity.identifiers[0].identifier_id, identity.identifiers[2].identifier_id]
    assert (decision.reason, decision.who) == ("two people", "ann")


def test_split_of_all_identifiers_is_refused() -> None:
    identity = make_identity("erp_party:sap/1", "email:ann@example.com")
    with pytest.raises(ConfigError, match="leave out those that stay"):
        divide(identity, [each.identifier_id for each in identity.identifiers])


def test_split_of_a_shared_identifier_is_refused() -> None:
    shared = make_identifier("email", "info@example.com", uuid4(), is_shared=True)
    identity = make_identity("erp_party:sap/1")._replace(identifiers=[shared])
    with pytest.raises(ConfigError, match="links nothing"):
        divide(identity, [shared.identifier_id])


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_decision_needs_a_reason_of_bounded_length(reason: str) -> None:
    leaving, staying = divide(identity := make_identity("email:a@b.cd", "phone:1"), [identity.identifiers[0].identifier_id])
    with pytest.raises(ConfigError, match="--reason needs 1 to 500 characters"):
        plan_split(leaving, staying, reason=reason, who="ann")


def test_join_links_two_identifiers() -> None:
    one, other = make_identity("email:ann@example.com"), make_identity("erp_party:sap/1")
    left, right = one.identifiers[0].identifier_id, other.customer_id
    decision = plan_join(one, other, left, right, **WHY)
    assert (decision.action, decision.left, decision.right) == ("join", [left], [right])


def test_join_of_one_customer_is_refused() -> None:
    identity = make_identity("email:ann@example.com", "phone:1")
    one, other = (each.identifier_id for each in identity.identifiers)
    with pytest.raises(ConfigError, match="nothing to join"):
        plan_join(identity, identity, one, other, **WHY)


@pytest.mark.parametrize("is_undone", [False, True])
@pytest.mark.parametrize("is_swapped", [False, True])
def test_join_against_a_split_names_its_undo(*, is_undone: bool, is_swapped: bool) -> None:
    one, other = make_identity("email:ann@example.com"), make_identity("erp_party:sap/1")
    left, right = one.identifiers[0].identifier_id, other.identifiers[0].identifier_id
    sides = ([right], [left]) if is_swapped else ([left], [right])
    split = make_decision_row("split", *sides, undone_by=uuid4() if is_undone else None)
    one.decisions.append(split)
    if is_undone:
        assert plan_join(one, other, left, right, **WHY).left == [left]
    else:
        with pytest.raises(ConfigError, match=f"identity undo {split.decision_id}"):
            plan_join(one, other, left, right, **WHY)


def test_undo_names_the_decision_and_its_identifiers() -> None:
    made = make_decision_row("split", [uuid4()], [uuid4()])
    decision = plan_undo(made, **WHY)
    assert (decision.action, decision.undoes, decision.left, decision.right) == ("undo", made.decision_id, made.left, made.right)


@pytest.mark.parametrize("action", ["undo", "erase"])
def test_undo_of_a_lasting_decision_is_refused(action: str) -> None:
    with pytest.raises(ConfigError, match="cannot be taken back"):
        plan_undo(make_decision_row(action), **WHY)


def test_second_undo_is_refused() -> None:
    with pytest.raises(ConfigError, match="took it back already"):
        plan_undo(make_decision_row("split", undone_by=uuid4()), **WHY)


@pytest.mark.parametrize(("is_linked", "split", "join"), [(True, False, True), (False, True, False)])
def test_result_is_complete_when_the_owners_say_so(*, is_linked: bool, split: bool, join: bool) -> None:
    one, other, customer = uuid4(), uuid4(), uuid4()
    members = {other: make_member(other, customer if is_linked else uuid4())}
    for action, expected in ((Action.SPLIT, split), (Action.JOIN, join)):
        decision = make_decision(action, [one], [other], **WHY)
        result = evaluate(decision, {one: customer, other: uuid4()}, Outcome([decision], members, []))
        assert result.is_complete == expected
        assert result.owners == {one: customer, other: members[other].customer_id}


def test_failed_join_names_the_reasons_of_its_identifiers_only() -> None:
    one, other = uuid4(), uuid4()
    decision = make_decision(Action.JOIN, [one], [other], **WHY)
    collector = Collector([decision])
    for conflict in (
        make_conflict_record(one, other, ConflictReason.LIMIT),
        make_conflict_record(uuid4(), uuid4(), ConflictReason.ANONYMOUS),
    ):
        collector.add(encode_model("conflict", conflict))
    text = explain_failure(decision, collector.outcome)
    assert text.startswith("the sequencer did not link the customers (limit):")


def test_collector_keeps_records_of_its_decisions_and_skips_other_bytes() -> None:
    mine, foreign = (make_decision(Action.SPLIT, [uuid4()], [uuid4()], **WHY) for _ in range(2))
    member, neighbour, stranger = (make_member(each, uuid4()) for each in (mine.left[0], uuid4(), uuid4()))
    collector = Collector([mine], [neighbour.identifier_id])
    for value in (None, b"", b"garbage", b"\0\0\0\0\0"):
        collector.add(value)
    for name, record in (("member", member), ("member", stranger), ("member", neighbour), ("decision", foreign)):
        collector.add(encode_model(name, record))
    assert collector.missing == {mine.decision_id}
    collector.add(encode_model("decision", mine))
    assert not collector.missing
    assert [each.decision_id for each in collector.outcome.decisions] == [mine.decision_id]
    assert collector.outcome.members == {each.identifier_id: each for each in (member, neighbour)}


def test_decision_survives_the_wire() -> None:
    made: Decision = make_decision(Action.UNDO, [uuid4()], undoes=uuid4(), **WHY)
    collector = Collector([made])
    collector.add(encode_model("decision", made))
    (found,) = collector.outcome.decisions
    assert found == made.model_copy(update={"at": found.at})
    assert abs((found.at - made.at).total_seconds()) < 0.001


@pytest.mark.parametrize(
    ("first", "now", "text"),
    [
        (Position(5, 9), Position(5, 9), "no worker reads touchline.identity-requests: start `touchline work`"),
        (Position(5, 9), Position(7, 9), "3 records of touchline.identity-requests behind: wait"),
        (Position(5, 9), Position(10, 9), "run `touchline dead-letters list --where"),
    ],
)
def test_delay_names_its_cause_and_the_next_step(first: Position, now: Position, text: str) -> None:
    assert text in describe_delay(1, first, now)


def test_account_without_a_name_must_name_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("uid")

    monkeypatch.setattr("getpass.getuser", fail)
    with pytest.raises(ConfigError, match="with --who"):
        read_user_name()
