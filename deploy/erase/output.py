"""Terminal output of erasures. Only `show_person` prints customer data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from rich.console import Console

from deploy.erase.run import Plan
from deploy.erase.search import Report
from deploy.terminal.table import table
from deploy.terminal.text import format_count, printable


class Totals(NamedTuple):
    """Number of stores with data of the person, and of records that must not be there."""

    stores: int
    faults: int


def show_person(on: Console, plan: Plan) -> None:
    """Print the customer, its identifiers and the number of rows by table."""
    person = plan.person
    on.print(f"Customer {UUID(bytes=person.customer_id)}, {format_count(len(person.identifiers), 'identifier')}", style="bold")
    listed = table("kind", "~identifier")
    for each in person.identifiers:
        listed.add_row(printable(each.kind), printable(each.value or "(value erased)"))
    on.print(listed)
    on.print()
    on.print(make_counts(plan.counts, "rows"))
    if plan.others:
        on.print(f"\n{format_count(len(plan.others), 'other customer')} with touchpoints of these identifiers will be rebuilt")


def show_proof(on: Console, proof_id: UUID, counts: Mapping[str, int]) -> None:
    """Print the id of the proof row and the deleted rows by table."""
    on.print(make_counts(counts, "deleted rows"))
    on.print(f"\nproof {proof_id} in touchline_store.erasure_proofs", style="bold green")


def make_counts(counts: Mapping[str, int], noun: str) -> object:
    """Return a table of the numbers above zero, with their sum."""
    made = table("table", f">{noun}")
    for name, count in counts.items():
        if count:
            made.add_row(name, f"{count:,}")
    made.add_row("all", f"{sum(counts.values()):,}")
    return made


def show_reports(on: Console, reports: Sequence[Report]) -> Totals:
    """Print the stores with data of the person, and return the totals."""
    made = table("~store", ">in clear", ">hashes only", ">faults", "~until")
    left = [each for each in reports if each.found.clear or each.found.keyed]
    for each in left:
        found = each.found
        made.add_row(each.store, f"{found.clear:,}", f"{found.keyed:,}", f"{found.faults:,}", each.until)
    if left:
        on.print(made)
    return Totals(len(left), count_faults(reports))


def count_faults(reports: Iterable[Report]) -> int:
    """Return the number of records that must not be there."""
    return sum(each.found.faults for each in reports)
