"""Connector that reads CSV, JSON Lines and Parquet files below a folder; each file is a stream.

Guarantee: at least once; repeated reads have the same event id. The content identifies a file: a copy under another name is not
read again, a changed file is read again from its start. Deletes: none.
"""

import hashlib
import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Phase, Record, RejectedRecord, StreamSpec, Window
from connectors.files.feed import FeedReader
from connectors.files.settings import FilesSettings
from connectors.http.rate_limit import RateLimit
from schemas.errors import ConfigError, RetryableError
from schemas.records.touchpoint import Touchpoint

MAX_BATCH_RECORDS = 2_000
MAX_BATCH_BYTES = 4 * 1024 * 1024
log = logging.getLogger(__name__)


class Connector:
    """One instance. Cursor of a file: {sha256, size, mtime_ns, rows, done}; `rows` is the number of published rows."""

    settings_model: ClassVar[type[BaseModel]] = FilesSettings

    def __init__(self, settings: FilesSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.poll_seconds = settings.poll_seconds
        self.start: datetime | None = None
        self.rate_limit = RateLimit()
        self._feeds = {name: FeedReader(settings.name, name, feed) for name, feed in settings.feeds.items()}
        self._read_under: dict[tuple[str, str], str] = {}

    def check(self) -> str:
        """Return the number of feeds and files. Raises ConfigError if the root is not a readable folder."""
        root = self.settings.root
        if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
            raise ConfigError(f"root: there is no readable folder {root}: create it, or name another with --root")
        counts = Counter(stream.partition(":")[0] for stream, _ in self._list_files())
        empty = sorted(self._feeds.keys() - counts.keys())
        waiting = f"; no file yet for {', '.join(empty)}" if empty else ""
        return f"{_count(len(self._feeds), 'feed')}, {_count(counts.total(), 'file')} below {root}{waiting}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Yield `<feed>:<path below root>` of each complete file that is new, changed or partly read."""
        self._read_under = {
            (stream.partition(":")[0], cursor["sha256"]): stream for stream, cursor in saved.items() if cursor["done"]
        }
        unsettled = 0
        for stream, path in self._list_files():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            cursor = saved.get(stream)
            if cursor is not None and cursor["done"] and _is_unchanged(cursor, status):
                continue
            if self._is_complete(path, status):
                yield stream
            else:
                unsettled += 1
        if unsettled:
            log.info("%s: %d files changed less than settle_seconds ago: postponed to a later round", self.name, unsettled)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the event family of the feed; files have no deletes and no time to read by."""
        return StreamSpec(self._feeds[stream.partition(":")[0]].feed.source)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the records before the cursor as REPLAY batches, then the records after it."""
        name, _, path = stream.partition(":")
        with _open_file(self.settings.root / path) as file:
            status = os.fstat(file.fileno())
            known = cursor is not None and _is_unchanged(cursor, status)
            digest = cursor["sha256"] if cursor and known else hashlib.file_digest(file, "sha256").hexdigest()
            now = {"sha256": digest, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
            unchanged = cursor is not None and cursor["sha256"] == digest
            if cursor and unchanged and cursor["done"]:
                yield Batch((), {**cursor, **now}, progress=1.0)
                return
            if self._read_under.get((name, digest), stream) != stream:
                yield Batch((), {**now, "rows": 0, "done": True}, Phase.RESTART, 1.0)
                return
            file.seek(0)
            yield from self._read_batches(stream, file, now, cursor["rows"] if cursor and unchanged else None)
        self._read_under[name, digest] = stream

    def map_record(self, record: Record) -> Touchpoint:
        """Map the record with its feed. Raises RecordError."""
        return self._feeds[record.stream.partition(":")[0]].map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: files have no count."""

    def close(self) -> None:
        """Do nothing: no file stays open between two reads."""

    def _read_batches(self, stream: str, file: BufferedReader, now: dict[str, Any], behind: int | None) -> Iterator[Batch]:
        """Yield batches of the whole file. The first `behind` rows are already published; None resets the totals."""
        feed = self._feeds[stream.partition(":")[0]]
        equal_rows: Counter[bytes] = Counter()
        records: list[Record | RejectedRecord] = []
        phase = Phase.RESTART if behind is None else Phase.NEXT
        rows, size, read_at = 0, 0, datetime.now(UTC)
        for row in feed.read_rows(file):
            records.append(feed.create_record(row, stream, read_at, equal_rows))
            rows, size = rows + 1, size + len(row.raw)
            if len(records) == MAX_BATCH_RECORDS or size >= MAX_BATCH_BYTES or rows == behind:
                replayed = behind is not None and rows <= behind
                yield Batch(records, {**now, "rows": rows, "done": False}, Phase.REPLAY if replayed else phase, row.share)
                phase = phase if replayed else Phase.NEXT
                records, size, read_at = [], 0, datetime.now(UTC)
        yield Batch(records, {**now, "rows": rows, "done": True}, phase, 1.0)

    def _list_files(self) -> Iterator[tuple[str, Path]]:
        """Yield stream and path of every file that matches a feed's glob, by feed and name."""
        root = self.settings.root
        if not root.is_dir():
            raise RetryableError(f"the folder {root} does not exist any more")
        for name, reader in self._feeds.items():
            for path in sorted(root.glob(reader.feed.files)):
                if path.name.startswith(".") or path.suffix == ".done" or not path.is_file():
                    continue
                relative = path.relative_to(root).as_posix()
                if relative.isprintable():
                    yield f"{name}:{relative}", path
                else:
                    log.error("%s: feed %s: skipped a file whose name is not valid text: rename it", self.name, name)

    def _is_complete(self, path: Path, status: os.stat_result) -> bool:
        """Return whether `<name>.done` exists, or nothing wrote, renamed or copied the file for `settle_seconds`."""
        age = time.time() - max(status.st_mtime, status.st_ctime)
        return age >= self.settings.settle_seconds or path.with_name(f"{path.name}.done").exists()


def _is_unchanged(cursor: Cursor, status: os.stat_result) -> bool:
    return bool(cursor["size"] == status.st_size and cursor["mtime_ns"] == status.st_mtime_ns)


@contextmanager
def _open_file(path: Path) -> Iterator[BufferedReader]:
    """Open the file for reading. Raises RetryableError for any error of the operating system."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RetryableError(f"{path} is no longer a regular file")
            yield file
    except OSError as error:
        raise RetryableError(f"cannot read {path}: {error.strerror}") from error


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
