"""What a person sees of a connector: bars while it reads, totals when it has read, and mapped touchpoints before it does."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from connectors.contract import Connector, Record, Refused, Window
from schemas.errors import RecordError
from schemas.records.connector_state import ConnectorState
from schemas.records.touchpoint import Touchpoint

SHOWN_TEXT = 60
ENVELOPE = frozenset(Touchpoint.model_fields) - {"text"}


class FeedBars:
    """One bar per feed: the file at hand, and the feed's records so far. Nothing where standard error is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[records]:>11,} records"),
            TextColumn("[dim]{task.fields[path]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._read: dict[str, Counter[str]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, state: ConnectorState, share: float) -> None:
        """Show the state of one stream after a saved batch, of which `share` lies behind."""
        feed, _, path = state.stream.partition(":")
        read = self._read.setdefault(feed, Counter())
        read[state.stream] = state.read
        if feed not in self._tasks:
            self._tasks[feed] = self._progress.add_task(feed, total=1.0, records=0, path=path)
        self._progress.update(self._tasks[feed], completed=share, records=read.total(), path=path)


def totals(connector: str, states: Mapping[str, ConnectorState]) -> Iterator[str]:
    """One line per feed with what came of its records since the connector began, not only in this run."""
    feeds: dict[str, list[ConnectorState]] = {}
    for stream, state in sorted(states.items()):
        feeds.setdefault(stream.partition(":")[0], []).append(state)
    for feed, found in feeds.items():
        read, published, refused, repeated = (
            sum(getattr(state, name) for state in found) for name in ("read", "published", "dead_lettered", "repeated")
        )
        files = [state for state in found if ":" in state.stream]
        where = f", from {len(files):,} {'file' if len(files) == 1 else 'files'}" if files else ""
        became = f"{published:,} published + {refused:,} dead letters + {repeated:,} repeated"
        yield f"{connector} {feed}: {read:,} read = {became}{where}"


def reconciliation(connector: str, counted: Iterable[tuple[str, Window, int, int | None]]) -> Iterator[str]:
    """One line per backfilled stream: what was read in its window, and what the source counts there."""
    for stream, window, read, count in counted:
        said = f"{connector} {stream}: {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC: {read:,} read"
        if count is None:
            yield f"{said}; the source cannot count"
        else:
            yield f"{said}, {count:,} at the source: {'nothing missing' if count == read else f'difference {count - read:+,}'}"


def show_preview(connector: Connector, count: int) -> None:
    """Print the first touchpoints of each feed, mapped and not published; refused records with their reason."""
    console = Console()
    shown: dict[str, list[tuple[Text, ...]]] = {}
    for stream in connector.streams({}):
        rows = shown.setdefault(stream.partition(":")[0], [])
        for position, found in _mapped(connector, stream, count - len(rows)):
            file = stream.partition(":")[2].rpartition("/")[2]
            rows.append((_shown(f"{file}:{position}" if file else position), *_cells(found)))
    for feed, rows in shown.items():
        table = Table(title=feed, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for heading in ("at", "occurred", "type", "channel", "who", "what"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    if not shown:
        console.print("Nothing to read yet.")


def _mapped(connector: Connector, stream: str, count: int) -> Iterator[tuple[str, Touchpoint | RecordError]]:
    for batch in connector.read(stream, None, Window(connector.start)) if count > 0 else ():
        for record in batch.records[:count]:
            yield record.position, _touchpoint(connector, record)
        count -= len(batch.records)
        if count <= 0:
            return


def _touchpoint(connector: Connector, record: Record | Refused) -> Touchpoint | RecordError:
    if isinstance(record, Refused):
        return record.error
    try:
        return connector.touchpoint(record)
    except RecordError as error:
        return error


def _cells(found: Touchpoint | RecordError) -> tuple[Text, ...]:
    if isinstance(found, RecordError):
        return Text(), Text("refused", "red"), Text(), Text(found.reason, "red"), _shown(found.detail)
    own = [name for name in type(found).model_fields if name not in ENVELOPE and getattr(found, name) is not None]
    what = [f"{name} {_short(getattr(found, name))}" for name in own]
    what += [f"{name} {_short(value)}" for name, value in found.attributes.items()]
    who = "\n".join(f"{one.kind} {one.value}" for one in found.identifiers)
    return tuple(
        _shown(text) for text in (f"{found.occurred_at:%Y-%m-%d %H:%M:%S}", found.type, found.channel, who, ", ".join(what))
    )


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN_TEXT else f"{text[: SHOWN_TEXT - 1]}…"


def _shown(text: str) -> Text:
    """Text as it is: no markup, and nothing that could steer the terminal."""
    return Text("".join(one if one.isprintable() or one == "\n" else "·" for one in text))
