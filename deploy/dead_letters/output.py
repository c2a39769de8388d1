"""What a person sees of dead letters. Only `show_letter` prints customer data."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from deploy.dead_letters.dead_letter import WHY, Letter, Plan, State
from deploy.dead_letters.queries import Content, Group
from schemas.errors import RecordError
from schemas.records.fields import instant
from schemas.wire.codec import decode

COLOURS = {State.REFUSED: "yellow", State.REPLAYED: "green"}
WIDTH = 160
SHORT_ID = 8
SHOWN_TEXT = 2_000
SHOWN_BYTES = 1_024
LINE_BYTES = 16
MINUTE = "%Y-%m-%d %H:%M"


def console() -> Console:
    """As wide as the terminal; elsewhere wide enough to keep a letter on a line."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def show_groups(on: Console, groups: Sequence[Group]) -> None:
    """Counts by stage and reason, before the letters themselves."""
    table = _table("stage", "reason", ">letters", ">replayed", "first (UTC)", "last (UTC)")
    _fold(*table.columns[:2])
    for group in groups:
        first, last = (f"{at:{MINUTE}}" for at in (group.first, group.last))
        table.add_row(printable(group.stage), printable(group.reason), f"{group.letters:,}", f"{group.replayed:,}", first, last)
    on.print(table)
    on.print()


def show_letters(on: Console, letters: Sequence[Letter], total: int) -> None:
    """Two lines a letter, so that a narrow terminal has room for it; no customer data."""
    table = _table("at (UTC)", "letter", "state", "refused by", "record")
    _fold(table.columns[-1])
    for letter in letters:
        table.add_row(
            f"{letter.at:{MINUTE}}",
            str(letter.letter_id)[:SHORT_ID],
            _state(letter),
            printable(f"{letter.stage}\n{letter.reason}"),
            printable(f"{letter.origin}, {decimal(letter.size)}\n{letter.detail}"),
        )
    on.print(table)
    more = f"; {total - len(letters):,} older ones with --limit" if total > len(letters) else ""
    on.print(f"\n{len(letters):,} of {total:,} dead letters{more}. One of them whole: touchline dead-letters show LETTER")


def as_json(letter: Letter) -> str:
    """One letter on one line, for programs; no customer data."""
    return json.dumps(
        {**letter._asdict(), "state": letter.state},
        default=lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value),
    )


def show_letter(on: Console, letter: Letter, content: Content) -> None:
    """Everything that is known of one letter, and its record: decoded, else as text, else byte by byte."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in letter._asdict().items():
        if value not in (None, ""):
            table.add_row(Text(name, "bold"), printable(str(value)))
    if content.key is not None:
        table.add_row(Text("key", "bold"), printable(_text(content.key) or _readable(content.key)))
    next_step = WHY.get(
        letter.state, f"once the cause is mended: touchline dead-letters replay --where \"letter_id = '{letter.letter_id}'\""
    )
    table.add_row(Text("state", "bold"), Text.assemble(_state(letter), f", {next_step}"))
    on.print(table)
    title, lines = record(content.payload)
    on.print(f"\n{title}", style="bold")
    on.print(printable(lines))


def record(payload: bytes) -> tuple[str, str]:
    """A title and the payload in the most readable way that it has."""
    try:
        name, fields = decode(payload)
        return f"record {name}", json.dumps(_readable(fields), indent=2, ensure_ascii=False)
    except RecordError as error:
        title = f"payload, {len(payload):,} bytes, no record: {error.detail}"
    if text := _text(payload):
        return title, text[:SHOWN_TEXT] + (f"\n… {len(text) - SHOWN_TEXT:,} characters more" if len(text) > SHOWN_TEXT else "")
    return title, "\n".join(dump(payload))


def dump(payload: bytes) -> Iterator[str]:
    """Offset, bytes in hexadecimal, and those that are letters, of the first kibibyte."""
    for start in range(0, min(len(payload), SHOWN_BYTES), LINE_BYTES):
        line = payload[start : start + LINE_BYTES]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in line)
        yield f"{start:08x}  {line.hex(' '):{LINE_BYTES * 3}} {letters}"
    if len(payload) > SHOWN_BYTES:
        yield f"… {len(payload) - SHOWN_BYTES:,} bytes more"


def show_plan(on: Console, found: Plan, *, dry_run: bool) -> None:
    """What is (or would be) sent where, and what is left out and why."""
    if not found.send and not found.left:
        on.print("There is no such dead letter.")
        return
    table = _table("to topic", "refused by", "reason", ">letters", ">bytes")
    where = attrgetter("topic", "stage", "reason")
    for names, group in groupby(sorted(found.send, key=where), key=where):
        sizes = [letter.size for letter in group]
        table.add_row(*map(printable, names), f"{len(sizes):,}", decimal(sum(sizes)))
    on.print(f"{len(found.send):,} dead letters {'would be' if dry_run else 'to be'} sent again", style="bold")
    if found.send:
        on.print(table)
    for state, count in found.left.most_common():
        on.print(f"{count:,} left out, [bold]{state}[/]: {WHY[state]}", soft_wrap=True)


def show_sent(on: Console, sent: int, failed: Mapping[str, int]) -> None:
    """What became of a plan."""
    on.print(f"{sent:,} sent", style="bold green" if sent else "bold")
    for why, count in failed.items():
        on.print(f"{count:,} not sent: {why}", style="red")


@contextmanager
def bar(total: int) -> Iterator[Callable[[int], None]]:
    """A function that counts letters that were sent; it shows nothing where standard error is no terminal."""
    on = Console(stderr=True)
    columns = TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=on, disable=not on.is_terminal) as progress:
        task = progress.add_task("sending", total=total)
        yield lambda count: progress.advance(task, count)


def printable(text: str) -> Text:
    """Text as it is: no markup, and nothing that could steer the terminal."""
    return Text("".join(one if one.isprintable() or one == "\n" else "·" for one in text))


def _text(value: bytes) -> str:
    """Bytes that are text as text; empty for others."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ""
    return text if all(one.isprintable() or one in "\r\n\t" for one in text) else ""


def _state(letter: Letter) -> Text:
    times = f" {letter.replays}x" if letter.replays else ""
    return Text(letter.state + times, COLOURS.get(letter.state, "red"))


def _table(*headings: str) -> Table:
    """Columns that keep their lines; `>` aligns to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading.removeprefix(">"), no_wrap=True, justify="right" if heading.startswith(">") else "left")
    return table


def _fold(*columns: Column) -> None:
    """Let these give way where the terminal is narrow."""
    for column in columns:
        column.no_wrap, column.overflow = False, "fold"


def _readable(value: Any, name: str = "") -> Any:
    """Ids as UUIDs, times as ISO 8601, a record inside a record as a record, other bytes as hexadecimal."""
    if isinstance(value, dict):
        return {key: _readable(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, bytes):
        with suppress(RecordError):
            return _readable(decode(value)[1])
        return str(UUID(bytes=value)) if len(value) == LINE_BYTES else value.hex()
    if isinstance(value, int) and (name == "at" or name.endswith("_at")):
        with suppress(OverflowError):
            return instant(value).isoformat()
    return value
