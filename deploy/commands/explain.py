"""`touchline explain`: one customer's timeline, journeys, identity, and each score with the touchpoints behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.explain.queries import Reader

FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@click.command()
@click.argument("who", metavar="IDENTIFIER|CUSTOMER")
@click.option(
    "--at", metavar="TIME", type=click.DateTime(FORMATS), help="As of this UTC time, as 2026-11-01 or 2026-11-01T12:00."
)
@click.option("--limit", default=30, show_default=True, type=click.IntRange(min=1), help="The newest N touchpoints.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object, times in ISO 8601.")
def command(*, who: str, at: datetime | None, limit: int, as_json: bool) -> None:
    """Explain one customer: who it is, what happened, and why each score is what it is, down to event ids.

    IDENTIFIER is kind:value, or a bare mail address, phone number or number of some system; CUSTOMER is a customer id. With
    --at, later touchpoints, readings, identifiers and merges are left out; a journey that had begun is shown as it stands now,
    and marked where it went on since.

    This is customer data: do not paste it anywhere.

    Example: touchline explain email:ann@example.com --at 2026-11-01T12:00
    """
    from deploy.dead_letters.output import console
    from deploy.explain.customer import asked, plain
    from deploy.explain.output import show_story

    with reader(at) as customers:
        story = customers.story(asked(who), limit)
    if as_json:
        click.echo(json.dumps(plain(story), ensure_ascii=False))
    else:
        show_story(console(), story)


@contextmanager
def reader(at: datetime | None) -> Iterator[Reader]:
    """Customers in ClickHouse as of a time in UTC, the connection closed at the end of the block."""
    from deploy.explain.queries import Reader
    from sinks.clickhouse import ClickHouse

    client = ClickHouse()
    try:
        yield Reader(client, at and at.replace(tzinfo=UTC))
    finally:
        client.close()
