"""`touchline migrate`: topics, tables, rights and views as this software needs them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sinks.migrations import Step

SAID = {
    "create": "created",
    "configure": "configured",
    "apply": "applied",
    "replace": "replaced",
    "ensure": "ensured",
    "none": "as they should be",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--sql", is_flag=True, help="With --dry-run: print the statements for ClickHouse instead, for review or another client."
)
def command(*, dry_run: bool, sql: bool) -> None:
    """Create or update the Kafka topics, the ClickHouse tables, roles and views; harmless when repeated.

    Where TOUCHLINE_CLICKHOUSE_CLUSTER names a cluster, every server of it gets them: tables replicated in their shard, and read
    across shards. A second migrate waits for the first.

    Example: touchline migrate --dry-run
    """
    from deploy.topics import ensure_topics
    from schemas.service.connection import KafkaSettings

    if sql and not dry_run:
        raise click.UsageError("--sql prints and does nothing: say --dry-run, too")
    if sql:
        for step in _steps(dry_run=True):
            for statement in step.statements:
                click.echo(f"-- {step.kind} {step.name}\n{statement};\n")
        return
    changes = ensure_topics(KafkaSettings(), dry_run=dry_run)
    done = [("topic", change.topic.name, change.action, _said(change.options)) for change in changes]
    done += [(step.kind, step.name, step.action, "") for step in _steps(dry_run=dry_run)]
    _show(done, "This would be done:" if dry_run else "Done:")


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


def _show(done: list[tuple[str, str, str, str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=None, title_justify="left", pad_edge=False)
    for heading in ("what", "name", "action", "settings"):
        table.add_column(heading, no_wrap=heading != "settings")
    for line in done:
        if line[2] != "none":
            table.add_row(*line)
    console = Console()
    console.print(table)
    console.print(", ".join(f"{count} {SAID[action]}" for action, count in Counter(line[2] for line in done).items()))


def _said(options: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
