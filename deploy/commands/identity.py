"""`touchline identity`: the identifiers of one customer, the evidence behind them, and decisions of people on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from deploy.identity.plan import Result
    from deploy.identity.queries import IdentityReader
    from deploy.identity.records import Identifier
    from schemas.records.identity import Decision

NOT_APPLIED = 1
PROBABILITY = click.FloatRange(0.5, 1)
F = TypeVar("F", bound=Callable[..., Any])


class Mode(NamedTuple):
    """Options that all decisions share."""

    reason: str
    who: str
    dry_run: bool
    yes: bool
    as_json: bool


def decision_options(function: F) -> F:
    """Add the options that all decisions share."""

    def read_user_name() -> str:
        from deploy.identity.decisions import read_user_name

        return read_user_name()

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times in ISO 8601."),
        click.option("--yes", is_flag=True, help="Do not ask on a terminal."),
        click.option("--dry-run", is_flag=True, help="Print the plan and decide nothing."),
        click.option("--who", metavar="NAME", default=read_user_name, help="Person who decides. Default: your user name."),
        click.option("--reason", metavar="TEXT", required=True, help="Reason of the decision, kept with it."),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Show, split and join the identifiers of customers.

    An IDENTIFIER is an e-mail address, a phone number, a number of some system, or kind:value. An id of an identifier or of a
    customer is a UUID. A decision is an event with a person and a reason. A running worker applies it.

    Example: touchline identity show ann@example.com
    """


@command.command()
@click.argument("customer", metavar="IDENTIFIER|CUSTOMER_ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times in ISO 8601.")
def show(*, customer: str, as_json: bool) -> None:
    """Show one customer's identifiers, evidence and decisions.

    Evidence: pairs of identifiers, the number of touchpoints that named both, and the first and last of them. The command also
    lists merges, splits, decisions, and pairs that were not linked. The output is customer data: do not paste it anywhere.

    Example: touchline identity show ann@example.com
    """
    from deploy.identity.lookup import parse_lookup
    from deploy.identity.output import show_identity
    from deploy.terminal.console import console

    name_identity_services()
    with identity_reader() as reader:
        identity = reader.identity(parse_lookup(customer))
    if as_json:
        _print_json(identity)
    else:
        show_identity(console(), identity, None)


@command.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="List the newest N conflicts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, times in ISO 8601.")
def conflicts(*, limit: int, as_json: bool) -> None:
    """List identifiers that were not linked, with the reason.

    Each pair was named together by a touchpoint. The output is customer data: do not paste it anywhere.

    Example: touchline identity conflicts --limit 50
    """
    from deploy.identity.output import show_conflicts
    from deploy.terminal.console import console

    name_identity_services()
    with identity_reader() as reader:
        found, total = reader.conflicts(limit)
    if as_json:
        for each in found:
            _print_json(each)
    elif found:
        show_conflicts(console(), found, total)
    else:
        click.echo("No conflict is recorded.")


@command.command()
@click.argument("identifiers", metavar="IDENTIFIER...", nargs=-1, required=True)
@decision_options
@click.option("--rebuild", is_flag=True, help="Rebuild the customers if their journeys and signals are incomplete.")
def split(*, identifiers: tuple[str, ...], rebuild: bool, **options: Any) -> None:
    """Take identifiers out of their customer.

    All other identifiers of the customer stay together. The same evidence does not link the two sides again. Touchpoints follow
    their strongest identifier.

    Exit codes: 0 the split took effect; 1 it did not, or Kafka or ClickHouse is away; 2 an argument is wrong.

    Example: touchline identity split ann@example.com --reason "family address" --dry-run
    """
    from deploy.identity.output import show_split
    from deploy.identity.plan import Side, divide, plan_split
    from deploy.terminal.console import console

    mode = Mode(**options)
    if rebuild and mode.as_json:
        raise click.UsageError("--rebuild prints its progress: leave out --json")
    name_identity_services(mode)
    with identity_reader() as reader:
        chosen, identity = reader.identity_of_all(identifiers)
        leaving, staying = divide(identity, chosen)
        decision = plan_split(leaving, staying, reason=mode.reason, who=mode.who)
        counts = reader.count_touchpoints(identity, decision.left)
        is_complete = reader.is_complete(identity.customer_id)
    sides = Side(leaving, counts[0]), Side(staying, counts[1])
    if not mode.as_json:
        show_split(console(), *sides)
    result = apply(decision, identity.identifiers, mode, {"leave": sides[0], "stay": sides[1], "needs_rebuild": not is_complete})
    if result is not None and not is_complete:
        rebuild_customers(result, run=rebuild)


@command.command()
@click.argument("one", metavar="IDENTIFIER|CUSTOMER_ID")
@click.argument("other", metavar="IDENTIFIER|CUSTOMER_ID")
@decision_options
def join(*, one: str, other: str, **options: Any) -> None:
    """Join two customers that are one person.

    A join may exceed the limits on identifiers of a kind. It links nothing if an identifier is shared by too many people, if a
    split keeps the customers apart, or if both have more than 512 identifiers together.

    Exit codes: 0 the join took effect; 1 it did not, or Kafka or ClickHouse is away; 2 an argument is wrong.

    Example: touchline identity join ann@example.com erp_party:sap/42 --reason "confirmed by phone" --dry-run
    """
    from deploy.identity.output import show_join
    from deploy.identity.plan import plan_join
    from deploy.terminal.console import console

    mode = Mode(**options)
    name_identity_services(mode)
    with identity_reader() as reader:
        (left, first), (right, second) = reader.node(one), reader.node(other)
    decision = plan_join(first, second, left, right, reason=mode.reason, who=mode.who)
    if not mode.as_json:
        show_join(console(), first, second)
    apply(decision, [*first.identifiers, *second.identifiers], mode, {"customers": [first.customer_id, second.customer_id]})


@command.command()
@click.argument("decision_id", metavar="DECISION_ID")
@decision_options
def undo(*, decision_id: str, **options: Any) -> None:
    """Take back a decision.

    After the undo of a split, evidence links the identifiers again. After the undo of a join, only evidence links them.
    DECISION_ID is the id of a decision, or its first characters: `touchline identity show` prints it.

    Exit codes: 0 the undo took effect; 1 it did not, or Kafka or ClickHouse is away; 2 an argument is wrong.

    Example: touchline identity undo 6f1d1a52 --reason "wrong customer" --dry-run
    """
    from deploy.identity.output import show_undo
    from deploy.identity.plan import plan_undo
    from deploy.terminal.console import console

    mode = Mode(**options)
    name_identity_services(mode)
    with identity_reader() as reader:
        made = reader.decision(decision_id)
        identifiers = reader.identifiers([*made.left, *made.right])
    decision = plan_undo(made, reason=mode.reason, who=mode.who)
    if not mode.as_json:
        show_undo(console(), made)
    apply(decision, identifiers, mode, {"undoes": made})


@command.command()
@click.option("--minimum", default=0.9, show_default=True, type=PROBABILITY, help="List pairs with at least this probability.")
@click.option("--apply", "threshold", type=PROBABILITY, help="Join pairs with at least this probability, without a question.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="List or ask about at most N pairs.")
@click.option("--reason", metavar="TEXT", default="review of traits", show_default=True, help="Reason, kept with each decision.")
@click.option("--who", metavar="NAME", help="Person who decides. Default: your user name.")
@click.option("--dry-run", is_flag=True, help="List the pairs and decide nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per pair.")
def review(
    *, minimum: float, threshold: float | None, limit: int, reason: str, who: str | None, dry_run: bool, as_json: bool
) -> None:
    """Find customers that are probably one person.

    Splink compares the traits of all customers, such as name, birth date and address, and learns from the records which of them
    count. Each pair of customers is printed with its evidence. On a terminal, the command then asks about each pair. A confirmed
    pair becomes a decision. `touchline identity undo` takes it back. Pairs that a split keeps apart are left out.

    The command needs the extra `review`. Its output is customer data: do not paste it anywhere.

    Exit codes: 0 done; 1 Kafka or ClickHouse is away, or no worker runs; 2 an option is wrong, or the traits do not suffice.

    Example: touchline identity review --apply 0.99 --dry-run
    """
    from deploy.identity.plan import check_reason
    from deploy.identity.review.output import show_proposals, to_object
    from deploy.identity.review.proposals import choose
    from deploy.identity.review.run import confirm, find_proposals, join_customers
    from deploy.services import name_services
    from deploy.terminal.console import console

    reason = check_reason(reason)
    asks = threshold is None and not dry_run and not as_json and sys.stdin.isatty()
    name_services("identity", kafka=asks or (threshold is not None and not dry_run), clickhouse=True)
    found = find_proposals(minimum if threshold is None else min(minimum, threshold))
    listed = choose(found, minimum)[:limit]
    if asks:
        join_customers(confirm(console(), listed), reason=reason, who=who)
        return
    if as_json:
        for each in listed:
            _print_json(to_object(each))
    else:
        show_proposals(console(), listed, len(choose(found, minimum)))
    if threshold is not None and not dry_run:
        join_customers(choose(found, threshold), reason=reason, who=who)


def name_identity_services(mode: Mode | None = None) -> None:
    """Name ClickHouse, and Kafka for a command that decides something."""
    from deploy.services import name_services

    name_services("identity", kafka=mode is not None and not mode.dry_run, clickhouse=True)


def apply(decision: Decision, identifiers: Sequence[Identifier], mode: Mode, plan: dict[str, Any]) -> Result | None:
    """Ask, send the decision, and print its result. Return None for a dry run. End with code 1 if it did not take effect."""
    from deploy.identity.decisions import send_decisions
    from deploy.identity.output import show_result
    from deploy.identity.plan import evaluate, explain_failure
    from deploy.terminal.console import console
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings

    if mode.dry_run:
        if mode.as_json:
            _print_json({**plan, "decision_id": None})
        else:
            click.echo("Dry run: nothing was decided.")
        return None
    if not mode.yes and sys.stdin.isatty():
        click.confirm(f"Do this {decision.action}?", abort=True, err=mode.as_json)
    settings = KafkaSettings()
    require_topics(settings)
    before = {each.identifier_id: each.customer_id for each in identifiers}
    outcome = send_decisions(settings, [decision], others=before)
    result = evaluate(decision, before, outcome)
    if mode.as_json:
        _print_json({**plan, "decision_id": decision.decision_id, **result._asdict()})
    else:
        show_result(console(), decision, result, {each.identifier_id: each.text for each in identifiers})
    if not result.is_complete:
        click.secho(f"touchline: {explain_failure(decision, outcome)}", fg="red", err=True)
        sys.exit(NOT_APPLIED)
    return result


def rebuild_customers(result: Result, *, run: bool) -> None:
    """Rebuild customers whose journeys and signals are incomplete, or print the commands that do it.

    A rebuild reads the customers of touchpoints from ClickHouse, so it waits until the sinks have stored the decision.
    """
    from deploy.commands.rebuild import command as rebuild
    from deploy.terminal.program import command

    customers = sorted(set(result.owners.values()))
    if run:
        with identity_reader() as reader:
            reader.wait_until_stored(result.owners)
        for customer in customers:
            click.get_current_context().invoke(rebuild, customer=str(customer))
        return
    click.echo("The journeys and signals of this customer do not include all of its touchpoints. Rebuild them:", err=True)
    for customer in customers:
        click.echo(command(f"rebuild --customer {customer}"), err=True)


@contextmanager
def identity_reader(at: datetime | None = None) -> Iterator[IdentityReader]:
    """Yield a reader of the identity views, and close its connection at the end of the block."""
    from deploy.identity.queries import IdentityReader
    from sinks.clickhouse import ClickHouse

    client = ClickHouse()
    try:
        yield IdentityReader(client, at)
    finally:
        client.close()


def _print_json(value: Any) -> None:
    from deploy.identity.records import to_json

    click.echo(json.dumps(to_json(value), ensure_ascii=False))
