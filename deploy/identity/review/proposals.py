"""Proposals of a review: pairs of customers that are probably one person, and the decisions that join them. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from deploy.identity.decisions import make_decision
from deploy.identity.review.model import Agreement, Match
from deploy.identity.review.records import Record
from schemas.records.identity import Action, Decision


class Proposal(NamedTuple):
    """Two customers and the records of theirs that agree most, with the result of each trait."""

    one: Record
    other: Record
    probability: float
    agreements: list[Agreement]


def make_proposals(
    records: Sequence[Record], matches: Iterable[Match], apart: Collection[frozenset[UUID]] = ()
) -> list[Proposal]:
    """Return one proposal for each pair of customers, the most probable first.

    Two kinds of pairs are left out: those in `apart`, and those that follow from more probable ones. With A and B, and B and C,
    also A and C are joined.
    """
    best: dict[tuple[UUID, UUID], Proposal] = {}
    for match in matches:
        one, other = sorted((records[match.left], records[match.right]), key=lambda record: record.customer_id)
        key = one.customer_id, other.customer_id
        if frozenset(key) in apart:
            continue
        if key not in best or match.probability > best[key].probability:
            best[key] = Proposal(one, other, match.probability, match.agreements)
    return list(_keep_needed(best[key] for key in sorted(best, key=lambda key: (-best[key].probability, key))))


def _keep_needed(proposals: Iterable[Proposal]) -> Iterable[Proposal]:
    parent: dict[UUID, UUID] = {}

    def find(customer: UUID) -> UUID:
        while (above := parent.get(customer, customer)) != customer:
            customer = above
        return customer

    for each in proposals:
        one, other = find(each.one.customer_id), find(each.other.customer_id)
        if one != other:
            parent[other] = one
            yield each


def choose(proposals: Iterable[Proposal], threshold: float) -> list[Proposal]:
    """Return the proposals with at least this probability."""
    return [each for each in proposals if each.probability >= threshold]


def make_review(proposal: Proposal, *, reason: str, who: str) -> Decision:
    """Return the decision that joins the two customers. A customer id is the id of the customer's strongest identifier."""
    return make_decision(
        Action.REVIEW,
        [proposal.one.customer_id],
        [proposal.other.customer_id],
        reason=reason,
        who=who,
        confidence=proposal.probability,
    )
