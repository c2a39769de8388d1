"""Plans of decisions: the identifiers on each side, and the reasons against a decision. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from deploy.identity.decisions import Outcome, make_decision
from deploy.identity.records import Identifier, Identity, Made
from schemas.errors import ConfigError
from schemas.records.identity import Action, Decision

MAX_REASON = 500
LASTING = (Action.ERASE, Action.UNDO)


class Side(NamedTuple):
    """Identifiers on one side of a split, and the number of touchpoints that belong to them."""

    identifiers: list[Identifier]
    touchpoints: int


class Result(NamedTuple):
    """Owners after a decision, by identifier id, and whether the decision did all that it asks for."""

    owners: dict[UUID, UUID]
    is_complete: bool


def check_reason(reason: str) -> str:
    """Return the reason without surrounding blanks. Raises ConfigError for an empty or too long one."""
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise ConfigError(f"--reason needs 1 to {MAX_REASON} characters: it is kept with the decision")
    return reason


def divide(identity: Identity, chosen: Sequence[UUID]) -> tuple[list[Identifier], list[Identifier]]:
    """Return the identifiers that leave a customer and those that stay. Raises ConfigError where nothing or all would leave."""
    leaving = [each for each in identity.identifiers if each.identifier_id in chosen]
    staying = [each for each in identity.identifiers if each.identifier_id not in chosen]
    if any(each.is_shared for each in leaving):
        raise ConfigError("an identifier is shared by too many people and links nothing: there is nothing to split")
    if not staying:
        raise ConfigError("these are all identifiers of the customer: leave out those that stay")
    return leaving, staying


def plan_split(leaving: Sequence[Identifier], staying: Sequence[Identifier], *, reason: str, who: str) -> Decision:
    """Return the decision that keeps the two sides apart."""
    left, right = ([each.identifier_id for each in side] for side in (leaving, staying))
    return make_decision(Action.SPLIT, left, right, reason=check_reason(reason), who=who)


def plan_join(one: Identity, other: Identity, left: UUID, right: UUID, *, reason: str, who: str) -> Decision:
    """Return the decision that links two identifiers of two customers.

    Raises ConfigError for one customer, for shared identifiers, and for customers that a split keeps apart.
    """
    if one.customer_id == other.customer_id:
        raise ConfigError(f"both are customer {one.customer_id} already: there is nothing to join")
    if any(each.is_shared for each in (*one.identifiers, *other.identifiers) if each.identifier_id in (left, right)):
        raise ConfigError("an identifier is shared by too many people and links nothing: give another one of the customer")
    if split := find_split(one, other):
        raise ConfigError(
            f"decision {split.decision_id} of {split.who} split them: take it back with"
            f" `touchline identity undo {split.decision_id} --reason TEXT`"
        )
    return make_decision(Action.JOIN, [left], [right], reason=check_reason(reason), who=who)


def plan_undo(made: Made, *, reason: str, who: str) -> Decision:
    """Return the decision that takes back another one. Raises ConfigError where that is not possible."""
    if made.undone_by:
        raise ConfigError(f"decision {made.undone_by} took it back already")
    if made.action in LASTING:
        raise ConfigError(f"decision {made.decision_id} is an {made.action} and cannot be taken back: split or join instead")
    return make_decision(Action.UNDO, made.left, made.right, undoes=made.decision_id, reason=check_reason(reason), who=who)


def find_split(one: Identity, other: Identity) -> Made | None:
    """Return a split that is in force and keeps identifiers of the two customers apart."""
    mine, theirs = ({each.identifier_id for each in identity.identifiers} for identity in (one, other))
    for made in one.decisions:
        if made.action != Action.SPLIT or made.undone_by:
            continue
        for left, right in ((made.left, made.right), (made.right, made.left)):
            if mine.intersection(left) and theirs.intersection(right):
                return made
    return None


def evaluate(decision: Decision, before: Mapping[UUID, UUID], outcome: Outcome) -> Result:
    """Return the owners after a decision. `before` holds the owners by identifier id before it.

    A split is complete when no customer owns identifiers of both sides, a join when one customer owns both. An undo only removes
    a constraint or a link, so it is complete once it is published.
    """
    changed = outcome.members
    owners = {each: changed[each].customer_id if each in changed else owner for each, owner in before.items()}
    left, right = ({owners[each] for each in side if each in owners} for side in (decision.left, decision.right))
    if decision.action == Action.SPLIT:
        return Result(owners, not left & right)
    if decision.action == Action.JOIN:
        return Result(owners, left == right and len(left) == 1)
    return Result(owners, True)


def explain_failure(decision: Decision, outcome: Outcome) -> str:
    """Return why a decision did not do all that it asks for, with the next step."""
    reasons = sorted({each.reason for each in outcome.conflicts})
    because = f" ({', '.join(reasons)})" if reasons else ""
    if decision.action == Action.SPLIT:
        return f"the sequencer kept both sides in one customer{because}: see `touchline identity show`"
    return f"the sequencer did not link the customers{because}: see `touchline identity conflicts`"
