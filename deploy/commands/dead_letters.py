"""`touchline dead-letters`: records that were refused, looked at and, once the cause is mended, sent again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.dead_letters.queries import Reader

LEFT_OUT = 1
WHERE = click.option(
    "--where",
    metavar="SQL",
    default="1",
    help="A ClickHouse condition on letter_id, at, stage, source, connector, reason, detail, origin, topic, partition, offset,"
    " schema_id, key, payload, size, truncated, software, replays, replayed, replayed_at. Default: all.",
)


@click.group()
def command() -> None:
    """Records that could not be processed: list them, show one whole, send them again.

    Example: touchline dead-letters list --where "stage = 'identify' AND at > now() - INTERVAL 1 HOUR"
    """


@command.command(name="list")
@WHERE
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="The newest N letters.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a letter, on a line of its own.")
def list_letters(*, where: str, limit: int, as_json: bool) -> None:
    """Count dead letters by stage and reason, and list the newest. Prints no payload: that is customer data.

    State: refused (can be sent again), replayed (was, and was not refused since), looping (refused after three replays),
    cut short, not on Kafka or compacted (cannot be sent again; `show` says what to do instead).

    Example: touchline dead-letters list --where "replayed = 0" --limit 50
    """
    from deploy.dead_letters import output

    with reader(where) as letters:
        found = letters.letters(where, limit)
        groups = [] if as_json else letters.groups(where)
    if as_json:
        for letter in found:
            click.echo(output.as_json(letter))
    elif found:
        on = output.console()
        output.show_groups(on, groups)
        output.show_letters(on, found, sum(group.letters for group in groups))
    else:
        click.echo("There is no such dead letter.")


@command.command()
@click.argument("letter")
def show(letter: str) -> None:
    """Show all of one dead letter, its record decoded where it can be. This is customer data: do not paste it anywhere.

    LETTER is a letter id; its first characters do where no other begins so.

    Example: touchline dead-letters show 6f1d1a52
    """
    from deploy.dead_letters.output import console, show_letter

    with reader("1") as letters:
        found = letters.one(letter)
        content = letters.contents([found])[found.letter_id]
    show_letter(console(), found, content)


@command.command()
@WHERE
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--again", is_flag=True, help="Also what was refused after three replays.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
def replay(*, where: str, dry_run: bool, again: bool, yes: bool) -> None:
    """Send records to where they were refused, once the cause is mended.

    Harmless when repeated or broken off: what was sent again is not sent once more before it is refused again, and a record
    sent twice is one to every reader. A record refused again is the same dead letter; after three replays it is left out.

    Ends with 0 when all were sent now or before, with 1 when some had to be left out or Kafka or ClickHouse is away, with 2
    when --where is wrong. --dry-run ends as the same without it would.

    Example: touchline dead-letters replay --where "reason = 'unknown_schema'" --dry-run
    """
    from deploy.dead_letters import output
    from deploy.dead_letters.dead_letter import plan
    from deploy.dead_letters.replay import replay as send
    from deploy.dead_letters.replay import sending, wait_until_stored
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings

    settings, on = KafkaSettings(), output.console()
    require_topics(settings)
    with reader(where) as letters:
        with on.status("waiting until ClickHouse has all dead letters"):
            wait_until_stored(settings)
        found = plan(letters.letters(where), again=again)
        output.show_plan(on, found, dry_run=dry_run)
        failed: Counter[str] = Counter()
        if found.send and not dry_run:
            if not yes and sys.stdin.isatty():
                click.confirm("Send them?", abort=True)
            with sending(settings) as sender, output.bar(len(found.send)) as advance:
                failed = send(found.send, letters.contents, sender, advance)
            output.show_sent(on, len(found.send) - failed.total(), failed)
    if failed or not found.complete:
        sys.exit(LEFT_OUT)


@contextmanager
def reader(where: str) -> Iterator[Reader]:
    """Letters in ClickHouse, the condition checked, the connection closed at the end of the block."""
    from deploy.dead_letters.queries import Reader
    from sinks.clickhouse import ClickHouse

    client = ClickHouse()
    try:
        letters = Reader(client)
        letters.check(where)
        yield letters
    finally:
        client.close()
