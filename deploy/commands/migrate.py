"""`touchline migrate`: topics, tables and views as this software needs them."""

from collections import Counter

import click

SAID = {"create": "created", "configure": "configured", "apply": "applied", "replace": "replaced", "none": "as they should be"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def command(*, dry_run: bool) -> None:
    """Create or update the Kafka topics, the ClickHouse tables and the views; harmless when repeated.

    Example: touchline migrate --dry-run
    """
    from rich.console import Console
    from rich.table import Table

    from deploy.topics import ensure_topics
    from schemas.settings import KafkaSettings
    from sinks.clickhouse import ClickHouse
    from sinks.migrations import migrate

    changes = ensure_topics(KafkaSettings(), dry_run=dry_run)
    done = [("topic", change.topic.name, change.action, _said(change.options)) for change in changes]
    client = ClickHouse()
    try:
        done += [(*step, "") for step in migrate(client, dry_run=dry_run)]
    finally:
        client.close()
    table = Table(title="This would be done:" if dry_run else "Done:", box=None, title_justify="left", pad_edge=False)
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
