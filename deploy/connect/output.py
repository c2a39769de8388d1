"""Terminal output of a connector: bars while it reads, totals after it, and mapped touchpoints of a preview."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from connectors.contract import Connector, Record, RejectedRecord, Window
from deploy.terminal.console import console
from deploy.terminal.table import table
from deploy.terminal.text import format_count, printable
from schemas.errors import RecordError
from schemas.records.connector_state import ConnectorState
from schemas.records.touchpoint import Touchpoint

MAX_TEXT = 60
ENVELOPE = frozenset(Touchpoint.model_fields) - {"text"}


class FeedBars:
    """Bars, one per feed, with the current file and the records read. Without a terminal on standard error, nothing is shown."""

    def __init__(self) -> None:
        on = console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[records]:>11,} records"),
            TextColumn("[dim]{task.fields[path]}"),
            console=on,
            disable=not on.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._read: dict[str, Counter[str]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, state: ConnectorState, share: float) -> None:
        """Show the state of one stream after a saved batch; `share` (0 to 1) of the stream has been read."""
        feed, _, path = state.stream.partition(":")
        read = self._read.setdefault(feed, Counter())
        read[state.stream] = state.read
        if feed not in self._tasks:
            self._tasks[feed] = self._progress.add_task(feed, total=1.0, records=0, path=path)
        self._progress.update(self._tasks[feed], completed=share, records=read.total(), path=path)


def format_totals(connector: str, states: Mapping[str, ConnectorState]) -> Iterator[str]:
    """Yield one line per feed: its records by outcome, over all runs of the connector."""
    feeds: dict[str, list[ConnectorState]] = {}
    for stream, state in sorted(states.items()):
        feeds.setdefault(stream.partition(":")[0], []).append(state)
    for feed, found in feeds.items():
        read, published, refused, repeated = (
            sum(getattr(state, name) for state in found) for name in ("read", "published", "dead_lettered", "repeated")
        )
        files = [state for state in found if ":" in state.stream]
        where = f", from {format_count(len(files), 'file')}" if files else ""
        outcomes = f"{published:,} published + {refused:,} dead letters + {repeated:,} repeated"
        yield f"{connector} {feed}: {read:,} read = {outcomes}{where}"


def format_reconciliation(connector: str, counted: Iterable[tuple[str, Window, int, int | None]]) -> Iterator[str]:
    """Yield one line per backfilled stream: the records read in its window, and the source's own count of that window."""
    for stream, window, read, count in counted:
        line = f"{connector} {stream}: {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC: {read:,} read"
        if count is None:
            yield f"{line}; the source cannot count"
        else:
            yield f"{line}, {count:,} at the source: {'nothing missing' if count == read else f'difference {count - read:+,}'}"


def show_preview(connector: Connector, count: int) -> None:
    """Print the first `count` mapped touchpoints of each feed, and refused records with their reason. Nothing is published."""
    on = console()
    feeds: dict[str, list[tuple[Text, ...]]] = {}
    for stream in connector.list_streams({}):
        rows = feeds.setdefault(stream.partition(":")[0], [])
        for position, found in _map_records(connector, stream, count - len(rows)):
            file = stream.partition(":")[2].rpartition("/")[2]
            rows.append(_cells(f"{file}:{position}" if file else position, found))
    for feed, rows in feeds.items():
        preview = table("~position, time (UTC)", "~type, channel", "~identifiers, traits, fields", title=feed)
        for row in rows:
            preview.add_row(*row)
        on.print(preview)
        on.print()
    if not feeds:
        on.print("The source has no records yet.")


def _map_records(connector: Connector, stream: str, count: int) -> Iterator[tuple[str, Touchpoint | RecordError]]:
    for batch in connector.read(stream, None, Window(connector.start)) if count > 0 else ():
        for record in batch.records[:count]:
            yield record.position, _touchpoint(connector, record)
        count -= len(batch.records)
        if count <= 0:
            return


def _touchpoint(connector: Connector, record: Record | RejectedRecord) -> Touchpoint | RecordError:
    if isinstance(record, RejectedRecord):
        return record.error
    try:
        return connector.map_record(record)
    except RecordError as error:
        return error


def _cells(position: str, found: Touchpoint | RecordError) -> tuple[Text, ...]:
    if isinstance(found, RecordError):
        return printable(position), Text(f"refused\n{found.reason}", "red"), printable(found.detail)
    own = [name for name in type(found).model_fields if name not in ENVELOPE and getattr(found, name) is not None]
    values = [f"{name} {_short(getattr(found, name))}" for name in own]
    values += [f"{name} {_short(value)}" for name, value in found.attributes.items()]
    identifiers = [f"{one.kind} {one.value}" + (f" (source: {one.raw})" if one.raw else "") for one in found.identifiers]
    identifiers += [f"{kind} refused: {reason}" for kind, reason in found.refused]
    identifiers += [f"{name} {_short(value)}" for name, value in (found.traits or {}).items()]
    identifiers += ["not verified"] if found.verified is False else []
    texts = (
        f"{position}\n{found.occurred_at:%Y-%m-%d %H:%M:%S}",
        f"{found.type}\n{found.channel}",
        "\n".join([*identifiers, ", ".join(values)]),
    )
    return tuple(printable(text) for text in texts)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
