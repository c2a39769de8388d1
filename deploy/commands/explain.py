"""`touchline explain`: one customer's identity, timeline, journeys, and each score with the touchpoints that moved it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from deploy.terminal.options import TIME

if TYPE_CHECKING:
    from deploy.explain.queries import CustomerReader


@click.command()
@click.argument("customer", metavar="IDENTIFIER|CUSTOMER_ID")
@click.option("--at", metavar="TIME", type=TIME, help="As of this UTC time, as 2026-11-01 or 2026-11-01T12:00.")
@click.option("--limit", default=30, show_default=True, type=click.IntRange(min=1), help="Show the newest N touchpoints.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times in ISO 8601.")
def command(*, customer: str, at: datetime | None, limit: int, as_json: bool) -> None:
    """Show one customer's timeline, journeys and scores.

    Each score comes with the touchpoints that moved it. IDENTIFIER is an e-mail address, a phone number, a number of some
    system, or kind:value. CUSTOMER_ID is a UUID.

    --at leaves out later touchpoints, readings, merges and decisions, and identifiers that the customer got later. Touchpoints
    belong to their customer of today. A journey that began before that time is shown in its current state, and marked if it has
    later touchpoints.

    The output is customer data: do not paste it anywhere.

    Example: touchline explain ann@example.com --at 2026-11-01T12:00
    """
    from deploy.explain.output import show_history
    from deploy.identity.lookup import parse_lookup
    from deploy.identity.records import to_json
    from deploy.services import name_services
    from deploy.terminal.console import console

    name_services("explain", clickhouse=True)
    with customer_reader(at) as customers:
        history = customers.history(parse_lookup(customer), limit)
    if as_json:
        click.echo(json.dumps(to_json(history), ensure_ascii=False))
    else:
        show_history(console(), history)


@contextmanager
def customer_reader(at: datetime | None) -> Iterator[CustomerReader]:
    """Yield a reader as of a time in UTC, and close its connection at the end of the block."""
    from deploy.explain.queries import CustomerReader
    from sinks.clickhouse import ClickHouse

    client = ClickHouse()
    try:
        yield CustomerReader(client, at and at.replace(tzinfo=UTC))
    finally:
        client.close()
