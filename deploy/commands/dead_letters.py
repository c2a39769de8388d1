"""`touchline dead-letters`: list, show and replay the records that could not be processed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.dead_letters.queries import DeadLetterReader

INCOMPLETE = 1
WHERE = click.option(
    "--where",
    metavar="SQL",
    default="1",
    help="A ClickHouse condition on letter_id, at, stage, source, connector, reason, detail, origin, topic, partition, offset,"
    " schema_id, key, payload, size, truncated, software, replays, replayed, replayed_at. Default: all.",
)


@click.group()
def command() -> None:
    """List, inspect and replay rejected records.

    A record that a stage cannot process is kept whole, with the reason.

    Example: touchline dead-letters list --where "stage = 'identify'"
    """


@command.command(name="list")
@WHERE
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="List the newest N dead letters.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_dead_letters(*, where: str, limit: int, as_json: bool) -> None:
    """Count dead letters by stage and reason, and list the newest.

    Payloads are customer data and are not printed.

    State: refused (can be replayed), replayed (and not refused since), looping (refused after three replays), truncated, not on
    Kafka or compacted (cannot be replayed; `show` prints the next step).

    Example: touchline dead-letters list --where "replayed = 0" --limit 50
    """
    from deploy.dead_letters import output
    from deploy.services import name_services
    from deploy.terminal.console import console

    name_services("dead-letters", clickhouse=True)
    with dead_letter_reader(where) as reader:
        found = reader.dead_letters(where, limit)
        groups = [] if as_json else reader.groups(where)
    if as_json:
        for dead_letter in found:
            click.echo(output.to_json(dead_letter))
    elif found:
        on = console()
        output.show_groups(on, groups)
        output.show_list(on, found, sum(group.dead_letters for group in groups))
    else:
        click.echo("No dead letter matches.")


@command.command()
@click.argument("dead_letter", metavar="ID")
def show(dead_letter: str) -> None:
    """Show one dead letter with its decoded record.

    The output is customer data: do not paste it anywhere. ID is the id of a dead letter, or the first characters of it.

    Example: touchline dead-letters show 6f1d1a52
    """
    from deploy.dead_letters.output import show_dead_letter
    from deploy.services import name_services
    from deploy.terminal.console import console

    name_services("dead-letters", clickhouse=True)
    with dead_letter_reader("1") as reader:
        found = reader.one(dead_letter)
        content = reader.contents([found])[found.letter_id]
    show_dead_letter(console(), found, content)


@command.command()
@WHERE
@click.option("--dry-run", is_flag=True, help="Print the plan and send nothing.")
@click.option("--again", is_flag=True, help="Include records that were refused after three replays.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
def replay(*, where: str, dry_run: bool, again: bool, yes: bool) -> None:
    """Send the records again, after the cause is fixed.

    Each record goes to the topic and partition that refused it. You can repeat or interrupt a replay: a record is sent again
    only after a new refusal, and readers see every record once. A record that is refused again stays the same dead letter.
    After three replays it is left out.

    Exit codes: 0 all records sent, now or before; 1 some left out, or Kafka or ClickHouse away; 2 --where is wrong. --dry-run
    ends with the code of the same replay.

    Example: touchline dead-letters replay --where "reason = 'unknown_schema'" --dry-run
    """
    from deploy.dead_letters import output
    from deploy.dead_letters.dead_letter import plan_replay
    from deploy.dead_letters.replay import open_sender, wait_until_stored
    from deploy.dead_letters.replay import replay as send
    from deploy.services import name_services
    from deploy.terminal.console import console
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings

    name_services("dead-letters", kafka=True, clickhouse=True)
    settings, on = KafkaSettings(), console()
    require_topics(settings)
    with dead_letter_reader(where) as reader:
        with on.status("waiting until ClickHouse has stored all dead letters"):
            wait_until_stored(settings)
        plan = plan_replay(reader.dead_letters(where), again=again)
        output.show_plan(on, plan, dry_run=dry_run)
        failed: Counter[str] = Counter()
        if plan.send and not dry_run:
            if not yes and sys.stdin.isatty():
                click.confirm("Send them?", abort=True)
            with open_sender(settings) as sender, output.progress_bar(len(plan.send)) as advance:
                failed = send(plan.send, reader.contents, sender, advance)
            output.show_result(on, len(plan.send) - failed.total(), failed)
    if failed or not plan.is_complete:
        sys.exit(INCOMPLETE)


@contextmanager
def dead_letter_reader(where: str) -> Iterator[DeadLetterReader]:
    """Check the condition, yield a reader, and close its connection at the end of the block."""
    from deploy.dead_letters.queries import DeadLetterReader
    from sinks.clickhouse import ClickHouse

    client = ClickHouse()
    try:
        reader = DeadLetterReader(client)
        reader.check(where)
        yield reader
    finally:
        client.close()
