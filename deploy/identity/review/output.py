"""Terminal output of a review. All of it is customer data."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from deploy.identity.review.proposals import Proposal
from deploy.terminal.console import print_line
from deploy.terminal.table import table
from deploy.terminal.text import format_count, printable


def show_proposals(on: Console, proposals: Sequence[Proposal], total: int) -> None:
    """Print proposals with their evidence, and the number of all."""
    for each in proposals:
        show_proposal(on, each)
    rest = f", the first {len(proposals):,} are listed" if len(proposals) < total else ""
    print_line(on, f"{format_count(total, 'pair')} of customers may be one person{rest}.")


def show_proposal(on: Console, proposal: Proposal) -> None:
    """Print the two customers and each trait: the spelling of both, the result, and its weight in bits."""
    one, other = proposal.one, proposal.other
    on.print(Text.assemble((f"{proposal.probability:.4f}", "bold"), f"  {one.customer_id}  {other.customer_id}"))
    made = table("trait", "~one", "~other", "result", ">weight")
    for each in proposal.agreements:
        values = (printable(record.traits.get(each.trait, "")) for record in (one, other))
        made.add_row(each.trait, *values, each.result, f"{each.weight:+.1f}" if each.weight else "")
    on.print(made)
    print_line(on, f"touchpoints {one.event_id} and {other.event_id}\n")


def to_object(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal in JSON types."""
    return {
        "probability": proposal.probability,
        "customers": [str(each.customer_id) for each in (proposal.one, proposal.other)],
        "events": [str(each.event_id) for each in (proposal.one, proposal.other)],
        "traits": [
            {
                "trait": each.trait,
                "one": proposal.one.traits.get(each.trait),
                "other": proposal.other.traits.get(each.trait),
                "result": each.result,
                "weight": round(each.weight, 3),
            }
            for each in proposal.agreements
        ],
    }
