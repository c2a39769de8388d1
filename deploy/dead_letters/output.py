"""Terminal output of dead letters. Only `show_dead_letter` prints customer data."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from deploy.dead_letters.dead_letter import NEXT_STEPS, DeadLetter, Plan, State
from deploy.dead_letters.queries import Content, Group
from deploy.terminal.console import console, print_line
from deploy.terminal.program import command
from deploy.terminal.table import table
from deploy.terminal.text import MINUTE, format_count, printable, short_id
from schemas.errors import RecordError
from schemas.records.fields import instant
from schemas.wire.codec import decode

COLOURS = {State.REFUSED: "yellow", State.REPLAYED: "green"}
MAX_TEXT = 2_000
MAX_BYTES = 1_024
BYTES_PER_LINE = 16
UUID_BYTES = 16


def show_groups(on: Console, groups: Sequence[Group]) -> None:
    """Print the counts by stage and reason."""
    made = table("stage, reason", ">count", ">replayed", "first, last (UTC)")
    for group in groups:
        times = f"{group.first:{MINUTE}}\n{group.last:{MINUTE}}"
        made.add_row(printable(f"{group.stage}\n{group.reason}"), f"{group.dead_letters:,}", f"{group.replayed:,}", times)
    on.print(made)
    on.print()


def show_list(on: Console, dead_letters: Sequence[DeadLetter], total: int) -> None:
    """Print two lines per dead letter, without customer data."""
    made = table("at (UTC), id", "state", "stage, reason", "~record")
    for each in dead_letters:
        made.add_row(
            f"{each.at:{MINUTE}}\n{short_id(each.letter_id)}",
            _state(each),
            printable(f"{each.stage}\n{each.reason}"),
            printable(f"{each.origin}, {decimal(each.size)}\n{each.detail}"),
        )
    on.print(made)
    hidden = f"; --limit hides {total - len(dead_letters):,} older ones" if total > len(dead_letters) else ""
    on.print(f"\n{len(dead_letters):,} of {format_count(total, 'dead letter')}{hidden}")
    print_line(on, f"Show one: {command('dead-letters show ID')}")


def to_json(dead_letter: DeadLetter) -> str:
    """Return one dead letter as one line of JSON, without customer data."""
    return json.dumps(
        {**dead_letter._asdict(), "state": dead_letter.state},
        default=lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value),
    )


def show_dead_letter(on: Console, dead_letter: DeadLetter, content: Content) -> None:
    """Print all fields of one dead letter, and its record: decoded, else as text, else as bytes."""
    made = table("", "~")
    made.show_header = False
    for name, value in dead_letter._asdict().items():
        if value not in (None, ""):
            made.add_row(Text(name, "bold"), printable(str(value)))
    if content.key is not None:
        made.add_row(Text("key", "bold"), printable(_decode_text(content.key) or _to_readable(content.key)))
    made.add_row(Text("state", "bold"), _state(dead_letter))
    on.print(made)
    replay = f"dead-letters replay --where \"letter_id = '{dead_letter.letter_id}'\""
    print_line(on, f"\nNext step: {NEXT_STEPS.get(dead_letter.state, f'fix the cause, then {command(replay)}')}")
    title, lines = describe_payload(content.payload)
    on.print(f"\n{title}", style="bold", markup=False)
    on.print(printable(lines))


def describe_payload(payload: bytes) -> tuple[str, str]:
    """Return a title and the payload in its most readable form."""
    try:
        name, fields = decode(payload)
        return f"record {name}", json.dumps(_to_readable(fields), indent=2, ensure_ascii=False)
    except RecordError as error:
        title = f"payload, {len(payload):,} bytes, no record: {error.detail}"
    if text := _decode_text(payload):
        return title, text[:MAX_TEXT] + (f"\n… {len(text) - MAX_TEXT:,} more characters" if len(text) > MAX_TEXT else "")
    return title, "\n".join(dump(payload))


def dump(payload: bytes) -> Iterator[str]:
    """Yield offset, hexadecimal bytes and ASCII characters, line by line, of the first kibibyte."""
    for start in range(0, min(len(payload), MAX_BYTES), BYTES_PER_LINE):
        line = payload[start : start + BYTES_PER_LINE]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in line)
        yield f"{start:08x}  {line.hex(' '):{BYTES_PER_LINE * 3}} {characters}"
    if len(payload) > MAX_BYTES:
        yield f"… {len(payload) - MAX_BYTES:,} more bytes"


def show_plan(on: Console, plan: Plan, *, dry_run: bool) -> None:
    """Print the number of records to send per topic, and the number left out per state with its next step."""
    if not plan.send and not plan.left_out:
        on.print("No dead letter matches.")
        return
    made = table("~to topic", "stage, reason", ">count", ">bytes")
    key = attrgetter("topic", "stage", "reason")
    for (topic, stage, reason), group in groupby(sorted(plan.send, key=key), key=key):
        sizes = [each.size for each in group]
        made.add_row(printable(topic), printable(f"{stage}\n{reason}"), f"{len(sizes):,}", decimal(sum(sizes)))
    verb = "would be sent" if dry_run else "will be sent"
    on.print(f"{format_count(len(plan.send), 'dead letter')} {verb} again", style="bold")
    if plan.send:
        on.print(made)
    for state, count in plan.left_out.most_common():
        print_line(on, f"{count:,} left out, {state}: {NEXT_STEPS[state]}")


def show_result(on: Console, sent: int, failed: Mapping[str, int]) -> None:
    """Print the number of records sent, and of those not sent per reason."""
    on.print(f"{sent:,} sent", style="bold green" if sent else "bold")
    for reason, count in failed.items():
        on.print(f"{count:,} not sent: {reason}", style="red")


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar of sent records. Without a terminal on standard error, nothing is shown."""
    on = console(stderr=True)
    columns = TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=on, disable=not on.is_terminal) as progress:
        task = progress.add_task("sending", total=total)
        yield lambda count: progress.advance(task, count)


def _decode_text(value: bytes) -> str:
    """Return printable UTF-8 bytes as text, and an empty text for other bytes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ""
    return text if all(one.isprintable() or one in "\r\n\t" for one in text) else ""


def _state(dead_letter: DeadLetter) -> Text:
    times = f" {dead_letter.replays}x" if dead_letter.replays else ""
    return Text(dead_letter.state + times, COLOURS.get(dead_letter.state, "red"))


def _to_readable(value: Any, name: str = "") -> Any:
    """Return ids as UUIDs, times as ISO 8601, a nested record as a record, other bytes as hexadecimal."""
    if isinstance(value, dict):
        return {key: _to_readable(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_to_readable(each) for each in value]
    if isinstance(value, bytes):
        with suppress(RecordError):
            return _to_readable(decode(value)[1])
        return str(UUID(bytes=value)) if len(value) == UUID_BYTES else value.hex()
    if isinstance(value, int) and (name == "at" or name.endswith("_at")):
        with suppress(OverflowError):
            return instant(value).isoformat()
    return value
