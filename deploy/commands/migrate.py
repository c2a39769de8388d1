"""`touchline migrate`: create or update topics, tables, roles and views."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sinks.migrations import Step

SUMMARY_WORDS = {
    "create": "created",
    "configure": "configured",
    "apply": "applied",
    "replace": "replaced",
    "ensure": "ensured",
    "none": "unchanged",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Show the changes and make none.")
@click.option("--sql", is_flag=True, help="With --dry-run: print the ClickHouse statements, for review or another client.")
def command(*, dry_run: bool, sql: bool) -> None:
    """Create or update topics, tables, roles and views.

    Harmless when repeated. A second migrate waits for the first. Where TOUCHLINE_CLICKHOUSE_CLUSTER names a cluster, every
    server of it gets the tables: replicated in their shard, and read across shards.

    Waits up to TOUCHLINE_WAIT_SECONDS (60) for Kafka and for ClickHouse.

    Example: touchline migrate --dry-run
    """
    from deploy.services import name_services, wait_for_service
    from deploy.topics import ensure_topics
    from schemas.service.connection import KafkaSettings
    from sinks.connection import ClickHouseSettings
    from sinks.process import require_server

    if sql and not dry_run:
        raise click.UsageError("--sql only prints: give --dry-run, too")
    name_services("migrate", kafka=not sql, clickhouse=True)
    clickhouse = ClickHouseSettings()
    kafka = None if sql else KafkaSettings()
    wait_for_service("migrate", f"ClickHouse at {clickhouse.host}:{clickhouse.port}", lambda: require_server(clickhouse))
    if kafka is None:
        for step in _steps(dry_run=True):
            for statement in step.statements:
                click.echo(f"-- {step.kind} {step.name}\n{statement};\n")
        return
    changes = wait_for_service("migrate", f"Kafka at {kafka.bootstrap_servers}", lambda: ensure_topics(kafka, dry_run=dry_run))
    topics = [(change.topic.name, change.action, _format_options(change.options)) for change in changes]
    steps = [(step.kind, step.name, step.action) for step in _steps(dry_run=dry_run)]
    show_changes(topics, steps, "planned" if dry_run else "done")


def _steps(*, dry_run: bool) -> list[Step]:
    from sinks.clickhouse import ClickHouse
    from sinks.connection import ClickHouseSettings
    from sinks.migrations import migrate

    settings = ClickHouseSettings()
    client = ClickHouse(settings)
    try:
        return list(migrate(client, cluster=settings.cluster, dry_run=dry_run))
    finally:
        client.close()


def show_changes(topics: list[tuple[str, str, str]], steps: list[tuple[str, str, str]], state: str) -> None:
    """Print one table of topics (name, action, settings), one of ClickHouse's steps (kind, name, action), and the counts."""
    from deploy.terminal.console import console
    from deploy.terminal.table import table
    from deploy.terminal.text import printable

    on = console()
    changed_topics = [row for row in topics if row[1] != "none"]
    changed_steps = [row for row in steps if row[2] != "none"]
    for made, rows in (
        (table("topic", "action", "~settings", title=f"Kafka, {state}:"), changed_topics),
        (table("kind", "name", "action", title=f"ClickHouse, {state}:"), changed_steps),
    ):
        for row in rows:
            made.add_row(*map(printable, row))
        if rows:
            on.print(made)
    counts = Counter([row[1] for row in topics] + [row[2] for row in steps])
    on.print(", ".join(f"{count} {SUMMARY_WORDS[action]}" for action, count in counts.items()))


def _format_options(options: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
