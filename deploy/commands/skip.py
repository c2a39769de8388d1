"""`touchline skip`: let a consumer group pass a record that blocks it; a dead letter keeps the record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from deploy.skip.plan import Position
    from deploy.skip.readers import Reader

MAX_REASON_CHARACTERS = 500


@click.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
@click.option("--group", metavar="NAME", help="work, or the table of a sink. Needed where several groups read the topic.")
@click.option("--reason", required=True, metavar="TEXT", help="Why the record is skipped; part of the dead letter.")
@click.option("--with-earlier", is_flag=True, help="Also skip the records between the committed offset and OFFSET.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
def command(
    *, topic: str, partition: int, offset: int, group: str | None, reason: str, with_earlier: bool, dry_run: bool, yes: bool
) -> None:
    """Skip a record that blocks a worker or a sink.

    Workers and sinks make dead letters of records that they cannot process. Use this command for a record that blocks them
    nevertheless, for example one that needs more memory than the machine has. The log of the process names its topic,
    partition and offset.

    Stop all processes of the group first, because Kafka accepts no other commit while one of them runs. The record is kept as a
    dead letter with reason `skipped`; `touchline dead-letters replay` sends it again.

    Exit codes: 0 skipped, now or before; 1 the group is active, or Kafka is away; 2 an argument is wrong, or the record is not
    the next one of the group.

    Example: touchline skip touchline.erp 3 1042 --reason junk --dry-run
    """
    from kafka import TopicPartition

    from deploy.services import name_services
    from deploy.skip import kafka
    from deploy.skip.plan import has_passed, make_commits, require_near, require_next, require_no_members
    from deploy.skip.readers import choose_reader
    from deploy.terminal.console import console, print_line
    from deploy.terminal.program import command as line
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings

    name_services("skip", kafka=True)
    settings, on = KafkaSettings(), console()
    reader = choose_reader(topic, partition, group)
    require_topics(settings)
    with kafka.open_group(settings, reader) as consumers:
        position = consumers.read_position(TopicPartition(topic, partition))
        if has_passed(position, offset):
            print_line(on, f"group {reader.group} is already at offset {position.next} of {topic}/{partition}: nothing to skip")
            return
        require_no_members(position, reader)
        require_near(position, offset)
        records = consumers.read_records(position, offset)
        require_next(position, records, offset, with_earlier=with_earlier)
        show_plan(on, reader, position, records)
        if dry_run:
            print_line(on, "\nNothing was changed (--dry-run).")
            return
        if not yes and sys.stdin.isatty():
            click.confirm("Skip?", abort=True)
        letters = kafka.make_dead_letters(records, reader, reason[:MAX_REASON_CHARACTERS])
        kafka.publish(settings, letters)
        consumers.commit(make_commits(position, offset))
    print_line(on, f"\nGroup {reader.group} continues at offset {offset + 1}. Start `{reader.stop}` again.")
    print_line(on, f"Show the dead letter: {line(f'dead-letters show {letters[-1].letter_id}')}")


def show_plan(on: Console, reader: Reader, position: Position, records: Sequence[Any]) -> None:
    """Print group, position and records, without customer data."""
    from rich.filesize import decimal

    from deploy.terminal.table import table
    from deploy.terminal.text import format_count
    from schemas.errors import RecordError
    from schemas.wire.codec import decode

    last = records[-1]
    try:
        content = f"{decode(last.value)[0]} record"
    except RecordError as error:
        content = error.reason
    made = table("", "~")
    made.show_header = False
    made.add_row("group", f"{reader.group}, stage {reader.stage}, no active consumer")
    made.add_row("position", f"{position.partition.topic}/{position.partition.partition}, next offset {position.next}")
    made.add_row("record", f"offset {last.offset}, {decimal(len(last.value or b''))}, {content}")
    made.add_row("skip", f"{format_count(len(records), 'record')}, each kept as a dead letter")
    on.print(made)
