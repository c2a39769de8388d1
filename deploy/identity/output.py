"""Terminal output of the identity map: one customer, plans, results, conflicts. All of it is customer data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.identity.plan import Result, Side
from deploy.identity.records import Change, Identifier, Identity, Made, Pair, Unlinked
from deploy.terminal.console import print_line
from deploy.terminal.program import command
from deploy.terminal.table import table
from deploy.terminal.text import MINUTE, format_count, printable, short_id
from schemas.records.identity import Decision

MERGES = ("merge", "join", "review")
REASONS = {
    "shared_value": "the identifier is shared by too many people",
    "limit": "one customer would have too many identifiers of a kind",
    "unverified": "the source does not verify its identifiers",
    "anonymous": "an anonymous id was seen with several customers",
    "split": "a person split them",
    "group_full": "the group of linked identifiers is full",
}


def show_identity(on: Console, identity: Identity, at: datetime | None) -> None:
    """Print the customer with its identifiers, evidence, changes, decisions and conflicts."""
    as_of = f", as of {at:{MINUTE}} UTC" if at else ""
    on.print(Text.assemble(("Customer ", "bold"), (str(identity.customer_id), "bold cyan"), as_of))
    on.print(_identifiers(identity.identifiers))
    for heading, rows in (
        ("Seen together", _pairs(identity.evidence)),
        ("Merges and splits", _changes(identity)),
        ("Decisions", _decisions(identity.decisions)),
        ("Not linked", _conflicts(identity.conflicts)),
    ):
        if rows.row_count:
            on.print(f"\n{heading}", style="bold")
            on.print(rows)


def show_split(on: Console, leaving: Side, staying: Side) -> None:
    """Print the plan of a split: the identifiers of each side and their touchpoints."""
    made = table("", "~identifier", ">touchpoints")
    for name, side in (("leave", leaving), ("stay", staying)):
        made.add_row(Text(name, "bold"), _list_texts(side.identifiers), f"{side.touchpoints:,}")
    on.print(made)


def show_join(on: Console, one: Identity, other: Identity) -> None:
    """Print the plan of a join: the identifiers of the two customers."""
    made = table("customer", "~identifier")
    for identity in (one, other):
        made.add_row(short_id(identity.customer_id), _list_texts(identity.identifiers))
    on.print(made)


def show_undo(on: Console, made: Made) -> None:
    """Print the decision to take back."""
    on.print(_decisions([made]))


def show_result(on: Console, decision: Decision, result: Result, texts: Mapping[UUID, str]) -> None:
    """Print each customer with its identifiers after a decision, and the command that takes it back."""
    by_customer: defaultdict[UUID, list[str]] = defaultdict(list)
    for identifier, owner in result.owners.items():
        by_customer[owner].append(texts.get(identifier, short_id(identifier)))
    made = table("customer now", "~identifier")
    for customer, identifiers in sorted(by_customer.items()):
        made.add_row(str(customer), printable("\n".join(sorted(identifiers))))
    on.print(made)
    print_line(on, f"Decision {decision.decision_id}: {decision.action}. The views show it once the sinks have stored it.")
    if decision.action in ("split", "join"):
        print_line(on, f"Take it back: {command(f'identity undo {decision.decision_id} --reason TEXT')}")


def show_conflicts(on: Console, conflicts: Sequence[Unlinked], total: int) -> None:
    """Print the newest conflicts with their reasons."""
    on.print(_conflicts(conflicts))
    hidden = f"; --limit hides {total - len(conflicts):,} older ones" if total > len(conflicts) else ""
    on.print(f"\n{len(conflicts):,} of {format_count(total, 'conflict')}{hidden}")


def _identifiers(identifiers: Sequence[Identifier]) -> Table:
    made = table("since (UTC), event", "~identifier and rule", "state")
    for each in identifiers:
        state = Text("shared", "yellow") if each.is_shared else Text("")
        made.add_row(f"{each.at:{MINUTE}}\n{short_id(each.event_id)}", printable(f"{each.text}\n{each.rule}"), state)
    return made


def _pairs(pairs: Sequence[Pair]) -> Table:
    made = table("first, last (UTC), events", "~identifiers and rule", ">touch-\npoints", ">confi-\ndence")
    for pair in pairs:
        first = f"{pair.first_at:{MINUTE}} {short_id(pair.first_event_id)}"
        last = f"{pair.last_at:{MINUTE}} {short_id(pair.last_event_id)}"
        made.add_row(
            f"{first}\n{last}" if pair.touchpoints > 1 else first,
            printable(f"{pair.identifier}\n{pair.other}\n{pair.rule}" + ("" if pair.is_verified else ", unverified")),
            f"{pair.touchpoints:,}",
            f"{pair.confidence:.2f}",
        )
    return made


def _changes(identity: Identity) -> Table:
    made = table("at (UTC), event", "~change and rule")
    for each in identity.changes:
        made.add_row(f"{each.at:{MINUTE}}\n{short_id(each.event_id)}", printable(_describe(each, identity.customer_id)))
    return made


def _describe(each: Change, customer: UUID) -> str:
    from_customer, to_customer = (
        "this customer" if one == customer else str(one) for one in (each.from_customer, each.to_customer)
    )
    if each.change in MERGES:
        text = f"{from_customer}\ninto {to_customer}"
    elif each.change == "split":
        text = f"{to_customer}\nfrom {from_customer}"
    else:
        text = f"identifiers of {from_customer}\nto {to_customer}"
    now = f"\nnow customer {each.customer_id}" if each.customer_id not in (customer, each.to_customer) else ""
    return f"{each.change}: {text}{now}; {each.rule or 'no effect'}"


def _decisions(decisions: Sequence[Made]) -> Table:
    made = table("at (UTC), id", "~decision", "~who and reason")
    for each in decisions:
        action = f"{each.action} of {short_id(each.undoes)}" if each.undoes else each.action
        sides = f"{len(each.left)} from {len(each.right)} identifiers" if each.action == "split" else ""
        undone = f"taken back by {short_id(each.undone_by)}" if each.undone_by else ""
        made.add_row(
            f"{each.at:{MINUTE}}\n{short_id(each.decision_id)}",
            printable("\n".join(filter(None, (action, sides, undone)))),
            printable(f"{each.who}\n{each.reason}"),
        )
    return made


def _conflicts(conflicts: Sequence[Unlinked]) -> Table:
    made = table("at (UTC), event", "~identifiers", "~reason", "customers")
    for each in conflicts:
        made.add_row(
            f"{each.at:{MINUTE}}\n{short_id(each.event_id)}",
            printable(f"{each.identifier}\n{each.other}"),
            printable(REASONS.get(each.reason, each.reason)),
            f"{short_id(each.customer_id)}\n{short_id(each.other_customer)}",
        )
    return made


def _list_texts(identifiers: Sequence[Identifier]) -> Text:
    return printable("\n".join(each.text + (" (shared)" if each.is_shared else "") for each in identifiers))
