"""`touchline rebuild`: publish the stored history of customers again, which replaces their journeys and readings."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from deploy.terminal.options import TIME

if TYPE_CHECKING:
    from deploy.rebuild.run import Result
    from deploy.rebuild.scope import Scope
    from sinks.clickhouse import ClickHouse

INCOMPLETE = 1


@click.command()
@click.option("--customer", metavar="IDENTIFIER|CUSTOMER_ID", help="Rebuild one customer.")
@click.option("--definition", metavar="NAME", help="Rebuild customers with journeys or readings of a definition, any version.")
@click.option("--all", "everyone", is_flag=True, help="Rebuild all customers.")
@click.option("--incomplete", is_flag=True, help="Rebuild customers with touchpoints that their readings do not include.")
@click.option("--since", metavar="TIME", type=TIME, help="Only customers with touchpoints stored since this UTC time.")
@click.option("--resume", is_flag=True, help="Continue an interrupted rebuild behind its last customer.")
@click.option("--dry-run", is_flag=True, help="Count customers and touchpoints, and publish nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait for workers and sinks at the end.")
def command(
    *,
    customer: str | None,
    definition: str | None,
    everyone: bool,
    incomplete: bool,
    since: datetime | None,
    resume: bool,
    dry_run: bool,
    no_wait: bool,
) -> None:
    """Compute journeys and readings of customers again.

    A rebuild reads each customer's whole history from ClickHouse and publishes it to the workers. Their results replace the
    journeys and readings of the customer. Connectors, workers and sinks keep running.

    Use it after a changed definition (--definition, or --all for a new one), for the alert `rebuild_needed` (--incomplete), and
    after an upgrade (--all). The setting TOUCHLINE_REBUILD_TOUCHPOINTS_PER_SECOND limits the rate.

    Ctrl-C ends the rebuild behind the customer in progress, and --resume continues it. The position is in rebuild.json in
    TOUCHLINE_HOME.

    Customers that are still incomplete at the end are published again, at most three times. --no-wait leaves this out.

    Exit codes: 0 done; 1 interrupted, customers still incomplete, some records unreadable, Kafka or ClickHouse away, no worker
    or no sink; 2 wrong options.

    Example: touchline rebuild --all --dry-run
    """
    from deploy.rebuild.session import Session
    from deploy.services import name_services
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from sinks.clickhouse import ClickHouse

    wanted = sum(map(bool, (customer, definition, everyone, incomplete)))
    if wanted != 1 and not (resume and not wanted):
        raise click.UsageError("give one of --customer, --definition, --all, --incomplete, or --resume")
    name_services("rebuild", kafka=True, clickhouse=True)
    settings = KafkaSettings()
    require_topics(settings)
    client = ClickHouse()
    try:
        scope = make_scope(client, customer, definition, since, incomplete=incomplete) if wanted else None
        rebuild = Session(settings, client, scope, resume=resume)
        click.echo(rebuild.plan())
        if dry_run:
            return
        result = rebuild.publish()
        if not result.is_complete:
            click.echo(f"interrupted after {result.cursor.customers:,} customers; {rebuild.next_step}", err=True)
            sys.exit(INCOMPLETE)
        show_end(result)
        if not no_wait:
            check_left(rebuild.wait())
            click.echo("the workers have read all of it, and the sinks have stored the revisions of all customers")
    finally:
        client.close()
    if result.unreadable:
        sys.exit(INCOMPLETE)


def make_scope(
    client: ClickHouse, customer: str | None, definition: str | None, since: datetime | None, *, incomplete: bool
) -> Scope:
    """Return the scope of the options. Raises ConfigError for an unknown customer or definition."""
    from deploy.rebuild.queries import require_definition
    from deploy.rebuild.scope import Kind, Scope

    stored_since = since and since.replace(tzinfo=UTC)
    if customer:
        return Scope(kind=Kind.CUSTOMER, value=find_customer(client, customer), since=stored_since)
    if definition:
        require_definition(client, definition)
        return Scope(kind=Kind.DEFINITION, value=definition, since=stored_since)
    return Scope(kind=Kind.INCOMPLETE if incomplete else Kind.ALL, since=stored_since)


def find_customer(client: ClickHouse, text: str) -> str:
    """Return the customer id of an identifier or an id. Raises ConfigError for an unknown one."""
    from deploy.identity.lookup import parse_lookup
    from deploy.identity.queries import IdentityReader

    return str(IdentityReader(client).identity(parse_lookup(text)).customer_id)


def check_left(count: int) -> None:
    """Raise RetryableError if customers are still incomplete after all repetitions."""
    from deploy.rebuild.run import MAX_REPETITIONS
    from schemas.errors import RetryableError

    if count:
        raise RetryableError(
            f"{count:,} customers are still incomplete after {MAX_REPETITIONS} repetitions: look for records of stage join in"
            " `touchline dead-letters list`, then run `touchline rebuild --incomplete`"
        )


def show_end(result: Result) -> None:
    """Print the end of a rebuild that published all customers."""
    cursor = result.cursor
    click.echo(f"published {cursor.customers:,} customers with {cursor.touchpoints:,} touchpoints")
    if result.unreadable:
        click.echo(
            f"{result.unreadable:,} touchpoints have no readable record and are left out: an older version stored them", err=True
        )
