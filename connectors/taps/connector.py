"""Any Singer tap and any Airbyte source, each round one process for each stream.

Guarantee: at least once, exact by event id. The tap's state is saved only after everything before it was acknowledged; the rows
that it sends again when it goes on there are told by their hash. Deletes: where the tap marks them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, RejectedRecord, StreamSpec, Window
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import RecordMapping, StreamMapping
from connectors.taps.dialects import DIALECTS, Entry, Row, Said, State
from connectors.taps.process import Line, Process
from connectors.taps.progress import Progress
from connectors.taps.settings import TapsSettings, resolved
from schemas.errors import ConfigError, RecordError, RetryableError
from schemas.records.touchpoint import Touchpoint

MOST_RECORDS = 500
MOST_BYTES = 4 * 1024 * 1024
MOST_KEPT = 6 * 1024 * 1024


class Connector:
    """One tap. Cursor: {state, last}, the tap's own state and the hashes of the last rows."""

    settings_model: ClassVar[type[BaseModel]] = TapsSettings

    def __init__(self, settings: TapsSettings) -> None:
        self.settings = settings
        self.name, self.poll_seconds = settings.name, settings.poll_seconds
        self.start: datetime | None = None
        self.rate_limit = RateLimit()
        self._dialect = DIALECTS[settings.protocol]
        self._mappings = {name: self._mapped(name, stream.key) for name, stream in settings.streams.items()}
        self._catalog: dict[str, Entry] = {}

    def check(self) -> str:
        """What streams the tap has. Raises ConfigError with what to change."""
        if self._dialect.check:
            with self._process(self._dialect.check) as process:
                if not self._dialect.fine(self._output(process), self._program):
                    raise RetryableError(f"{self._program} cannot read its source: {process.says} says why")
        for stream in self.settings.streams:
            self._keyed(stream, self._entry(stream))
        return f"{self._program} has {len(self._catalog)} streams; reads {', '.join(self.settings.streams)}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Every stream of the settings."""
        return list(self.settings.streams)

    def describe_stream(self, stream: str) -> StreamSpec:
        """As the settings say. The tap alone knows how to read by time, so it cannot be backfilled from a date of ours."""
        return replace(self._mappings[stream].spec, is_timed=False)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """What the tap sends after its state, but for what it has sent before."""
        given, progress = self.settings.streams[stream], Progress(cursor)
        entry = self._entry(stream)
        files = {"catalog": self._dialect.selected(entry, given.replication_key)}
        if progress.state is not None:
            files["state"] = self._dialect.resumed(progress.state)
        with self._process(self._dialect.read, **files) as process:
            yield from self._batches(process, self._dialect.names(entry), self._keyed(stream, entry), progress)

    def map_record(self, record: Record) -> Touchpoint:
        """The row mapped. Raises RecordError."""
        return self._mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """A tap cannot say."""

    def close(self) -> None:
        """Nothing stays open between two reads."""

    @property
    def _program(self) -> str:
        command = self.settings.command
        return Path(next((part for part in reversed(command) if not part.startswith("-")), command[0])).name

    def _batches(self, process: Process, names: set[str], items: RecordMapping, progress: Progress) -> Iterator[Batch]:
        """A batch ends at each state, when it is full, and when the tap falls silent."""
        records: list[Record | RejectedRecord] = []
        size = 0
        for line in process.lines():
            found = self._message(process, line) if line else None
            if isinstance(found, State):
                progress.state = found.value
            elif found:
                record = found if isinstance(found, RejectedRecord) else self._record(found, names, items)
                if progress.new(record.raw):
                    records.append(record)
                    size += len(record.raw)
            full = len(records) == MOST_RECORDS or size >= MOST_BYTES
            if full or line is None or (records and isinstance(found, State)):
                yield Batch(records, progress.cursor())
                records, size = [], 0
        process.finished()
        yield Batch(records, progress.cursor(), progress=1.0)

    def _record(self, row: Row, names: set[str], items: RecordMapping) -> Record | RejectedRecord:
        if row.stream not in names:
            raise ConfigError(
                f"{self._program} sends rows of {row.stream} where it was asked for {', '.join(sorted(names))} alone"
            )
        return items.create_record(row.data, datetime.now(UTC))

    def _message(self, process: Process, line: Line) -> Row | State | RejectedRecord | None:
        """What a line says. Raises ConfigError where it says that the config is wrong."""
        if not line.raw.startswith(b"{") and (self._dialect.chatty or not line.raw.strip()):
            process.note(line.raw)
            return None
        try:
            said = self._said(line)
        except RecordError as error:
            return RejectedRecord(line.raw[:MOST_KEPT], line.size, "-", error)
        if not isinstance(said, Said):
            return said
        process.note(line.raw)
        if said.fix:
            raise ConfigError(f"{self._program} says that its config is wrong: {process.says} says how")
        return None

    def _said(self, line: Line) -> Row | State | Said | None:
        if line.size > len(line.raw):
            raise RecordError("too_long", f"the line has more than the {len(line.raw)} bytes that are read of one")
        try:
            return self._dialect.message(_object(line.raw))
        except (AttributeError, LookupError, TypeError):
            raise RecordError("broken_line", f"the line is no message of {self._dialect.name}") from None

    def _entry(self, name: str) -> Entry:
        """The stream in the tap's catalog, asked for once. Raises ConfigError where there is none."""
        if not self._catalog:
            with self._process(self._dialect.discover) as process:
                self._catalog = self._dialect.catalog(self._output(process), self._program)
        wanted = self.settings.streams[name].stream
        if wanted not in self._catalog:
            known = ", ".join(sorted(self._catalog)[:20]) or "none"
            raise ConfigError(f"streams.{name}.stream: {self._program} has no {wanted}; it has {known}")
        return self._catalog[wanted]

    def _output(self, process: Process) -> bytes:
        output = b"".join(process.chunks())
        if self._dialect.chatty:
            for line in output.splitlines():
                self._message(process, Line(line, len(line)))
        process.finished()
        return output

    @contextmanager
    def _process(self, task: tuple[str, ...], **files: Any) -> Iterator[Process]:
        """The tap at a task, its config and what else it needs in files that are gone with it and that nobody else reads."""
        settings = self.settings
        with TemporaryDirectory(prefix=f"touchline-{self.name}-") as folder:
            arguments = []
            for name, value in {"config": resolved(settings.config), **files}.items():
                path = Path(folder) / f"{name}.json"
                path.touch(mode=0o600)
                path.write_text(json.dumps(value), encoding="utf-8")
                arguments += [f"--{name}", str(path)]
            command = [*settings.command, *task, *arguments]
            log = settings.root / settings.log if settings.log else None
            with Process(self._program, command, settings.root, log, settings.timeout_seconds) as process:
                yield process

    def _keyed(self, name: str, entry: Entry) -> RecordMapping:
        """The stream's items, by their own key where the settings give none. Raises ConfigError where `columns` lacks it."""
        return self._mapped(name, self.settings.streams[name].key or _joined(self._dialect.key(entry)))

    def _mapped(self, name: str, key: str | None) -> RecordMapping:
        stream = self.settings.streams[name]
        own = stream.model_dump(include=StreamMapping.model_fields.keys() - {"key"})
        return RecordMapping(self.name, name, StreamMapping(**own, key=key))


def _joined(columns: list[str]) -> str | None:
    """The expression of a key of these columns; of several it is a JSON list, so that no two rows can have the same."""
    parts = [f"id({json.dumps(column)})" for column in columns]
    return f"to_string([{', '.join(parts)}])" if len(parts) > 1 else next(iter(parts), None)


def _object(raw: bytes) -> dict[str, Any]:
    """A line's JSON object. Raises RecordError."""
    try:
        found = json.loads(raw, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RecordError("broken_line", "the tap's line must be one JSON object")
    return found
