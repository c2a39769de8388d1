"""Review of customers with Splink, on touchpoints with a known truth."""

from collections.abc import Sequence
from uuid import UUID

from deploy.identity.review.model import find_matches
from deploy.identity.review.proposals import Proposal, choose, make_proposals, make_review
from deploy.identity.review.records import Record, choose_traits, to_rows
from tests.harness.chain import Chain
from tests.quality.customers import Customers
from tests.quality.labelled import Labelled

THRESHOLD = 0.99


def review(labelled: Sequence[Labelled], customers: Customers) -> list[Proposal]:
    """Return the proposals of a review with a probability of at least the threshold."""
    records = [
        Record(UUID(bytes=customers[each.event_id]), UUID(bytes=each.event_id), choose_traits(each.fields["traits"] or {}, ()))
        for each in labelled
    ]
    return choose(make_proposals(records, find_matches(*to_rows(records), THRESHOLD)), THRESHOLD)


def apply(chain: Chain, proposals: Sequence[Proposal]) -> None:
    """Send the proposals to the sequencer of a chain as decisions."""
    for each in proposals:
        chain.decide(make_review(each, reason="review of the test", who="test").model_dump())
    chain.run()
