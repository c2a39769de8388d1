"""Connector that runs a Singer tap or an Airbyte source: one process per stream and round.

Guarantee: at least once; repeated reads have the same event id. The connector saves the tap's state after Kafka acknowledged all
rows before it, and recognises rows that the tap sends again by their hash. Deletes: rows that the tap marks.
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
from connectors.taps.dialects import DIALECTS, CatalogEntry, LogMessage, Row, State
from connectors.taps.process import Line, Process
from connectors.taps.progress import Progress
from connectors.taps.settings import TapsSettings, resolve_references
from schemas.errors import ConfigError, RecordError, RetryableError
from schemas.records.touchpoint import Touchpoint

MAX_BATCH_RECORDS = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_REJECTED_BYTES = 6 * 1024 * 1024


class Connector:
    """One tap. Cursor: {state, last}: the tap's own state and the hashes of the last rows."""

    settings_model: ClassVar[type[BaseModel]] = TapsSettings

    def __init__(self, settings: TapsSettings) -> None:
        self.settings = settings
        self.name, self.poll_seconds = settings.name, settings.poll_seconds
        self.start: datetime | None = None
        self.rate_limit = RateLimit()
        self._dialect = DIALECTS[settings.protocol]
        self._mappings = {name: self._create_mapping(name, stream.key) for name, stream in settings.streams.items()}
        self._catalog: dict[str, CatalogEntry] = {}

    def check(self) -> str:
        """Return the number of the tap's streams. Raises ConfigError with the setting to change."""
        if self._dialect.check:
            with self._run(self._dialect.check) as process:
                if not self._dialect.check_succeeded(self._read_output(process), self._program):
                    raise RetryableError(f"{self._program} cannot read its source: see {process.log_name}")
        for stream in self.settings.streams:
            self._create_keyed_mapping(stream, self._find_entry(stream))
        return f"{self._program} has {len(self._catalog)} streams; reads {', '.join(self.settings.streams)}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Return the streams of the settings."""
        return list(self.settings.streams)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties that the settings define. Only the tap can read by time, so there is no backfill."""
        return replace(self._mappings[stream].spec, is_timed=False)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the rows that the tap sends after its state, without those that it sent before."""
        progress, entry = Progress(cursor), self._find_entry(stream)
        files = {"catalog": self._dialect.build_catalog(entry, self.settings.streams[stream].replication_key)}
        if progress.state is not None:
            files["state"] = self._dialect.build_state(progress.state)
        with self._run(self._dialect.read, **files) as process:
            yield from self._read_batches(
                process, self._dialect.list_names(entry), self._create_keyed_mapping(stream, entry), progress
            )

    def map_record(self, record: Record) -> Touchpoint:
        """Map the row. Raises RecordError."""
        return self._mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: a tap has no count."""

    def close(self) -> None:
        """Do nothing: no process is left between two reads."""

    @property
    def _program(self) -> str:
        command = self.settings.command
        return Path(next((part for part in reversed(command) if not part.startswith("-")), command[0])).name

    def _read_batches(self, process: Process, names: set[str], mapping: RecordMapping, progress: Progress) -> Iterator[Batch]:
        """Yield batches. A batch ends with a state, when it is full, and when the tap is silent."""
        records: list[Record | RejectedRecord] = []
        size = 0
        for line in process.read_lines():
            message = self._handle_line(process, line) if line else None
            if isinstance(message, State):
                progress.state = message.value
            elif message:
                record = message if isinstance(message, RejectedRecord) else self._create_record(message, names, mapping)
                if progress.add(record.raw):
                    records.append(record)
                    size += len(record.raw)
            full = len(records) == MAX_BATCH_RECORDS or size >= MAX_BATCH_BYTES
            if full or line is None or (records and isinstance(message, State)):
                yield Batch(records, progress.create_cursor())
                records, size = [], 0
        process.wait()
        yield Batch(records, progress.create_cursor(), progress=1.0)

    def _create_record(self, row: Row, names: set[str], mapping: RecordMapping) -> Record | RejectedRecord:
        if row.stream not in names:
            raise ConfigError(
                f"{self._program} sends rows of {row.stream}, but the catalog selects only {', '.join(sorted(names))}"
            )
        return mapping.create_record(row.data, datetime.now(UTC))

    def _handle_line(self, process: Process, line: Line) -> Row | State | RejectedRecord | None:
        """Return the message of a line, or log it. Raises ConfigError if it reports a wrong config."""
        if not line.raw.startswith(b"{") and (self._dialect.has_log_lines or not line.raw.strip()):
            process.write_log(line.raw)
            return None
        try:
            message = self._parse(line)
        except RecordError as error:
            return RejectedRecord(line.raw[:MAX_REJECTED_BYTES], line.size, "-", error)
        if not isinstance(message, LogMessage):
            return message
        process.write_log(line.raw)
        if message.is_config_error:
            raise ConfigError(f"{self._program} reports a wrong config: see {process.log_name}")
        return None

    def _parse(self, line: Line) -> Row | State | LogMessage | None:
        if line.size > len(line.raw):
            raise RecordError("too_long", f"the line has more than {len(line.raw)} bytes")
        try:
            return self._dialect.parse_message(_parse_object(line.raw))
        except (AttributeError, LookupError, TypeError):
            raise RecordError("broken_line", f"the line is not a message of {self._dialect.name}") from None

    def _find_entry(self, name: str) -> CatalogEntry:
        """Return the stream of the tap's catalog, which is discovered once. Raises ConfigError if it does not exist."""
        if not self._catalog:
            with self._run(self._dialect.discover) as process:
                self._catalog = self._dialect.parse_catalog(self._read_output(process), self._program)
        wanted = self.settings.streams[name].stream
        if wanted not in self._catalog:
            known = ", ".join(sorted(self._catalog)[:20]) or "none"
            raise ConfigError(f"streams.{name}.stream: {self._program} has no {wanted}; it has {known}")
        return self._catalog[wanted]

    def _read_output(self, process: Process) -> bytes:
        output = b"".join(process.read_chunks())
        if self._dialect.has_log_lines:
            for line in output.splitlines():
                self._handle_line(process, Line(line, len(line)))
        process.wait()
        return output

    @contextmanager
    def _run(self, task: tuple[str, ...], **files: Any) -> Iterator[Process]:
        """Run the tap with a task. Its config and other inputs are temporary files that only this user can read."""
        settings = self.settings
        with TemporaryDirectory(prefix=f"touchline-{self.name}-") as folder:
            arguments = []
            for name, value in {"config": resolve_references(settings.config), **files}.items():
                path = Path(folder) / f"{name}.json"
                path.touch(mode=0o600)
                path.write_text(json.dumps(value), encoding="utf-8")
                arguments += [f"--{name}", str(path)]
            command = [*settings.command, *task, *arguments]
            log = settings.root / settings.log if settings.log else None
            with Process(self._program, command, settings.root, log, settings.timeout_seconds) as process:
                yield process

    def _create_keyed_mapping(self, name: str, entry: CatalogEntry) -> RecordMapping:
        """Return the mapping with the tap's key if the settings have none. Raises ConfigError if `columns` lacks the key."""
        return self._create_mapping(name, self.settings.streams[name].key or _build_key(self._dialect.list_key_columns(entry)))

    def _create_mapping(self, name: str, key: str | None) -> RecordMapping:
        stream = self.settings.streams[name]
        own = stream.model_dump(include=StreamMapping.model_fields.keys() - {"key"})
        return RecordMapping(self.name, name, StreamMapping(**own, key=key))


def _build_key(columns: list[str]) -> str | None:
    """Return the expression of a key. Several columns become a JSON list, so that two keys never have the same text."""
    parts = [f"id({json.dumps(column)})" for column in columns]
    return f"to_string([{', '.join(parts)}])" if len(parts) > 1 else next(iter(parts), None)


def _parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a line. Raises RecordError."""
    try:
        value = json.loads(raw, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RecordError("broken_line", "the tap's line must be one JSON object")
    return value
