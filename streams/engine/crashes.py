"""Memory of crashes: the chunks that were in flight. With it, the same record never ends a worker twice.

1. An unexpected exception ends the process. Before the end, `CrashLog.record` writes the offset ranges of all chunks in flight
   to a file in the worker's folder. A chunk without an exception writes nothing.
2. The next run reads the file. A stage processes each chunk that overlaps one of the ranges in isolation (`stage.py`).
3. A record that fails in isolation becomes a dead letter, and the file keeps a digest of its bytes. A step before this stage may
   have published it twice, because the crash came before its commit. The copy has another offset, and in
   `touchline.resolved` possibly another customer. The digest is therefore that of the touchpoint inside.

A process that the kernel kills writes no file. After a restart by the supervisor, the log therefore names the first chunks that
the worker begins, so that a person can find the record and run `touchline skip`.

The file keeps the newest `MAX_RANGES` ranges and digests. An old range does no harm, because isolation gives the same results.
"""

import asyncio
import json
import logging
import os
from collections import defaultdict
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from schemas.errors import RecordError
from schemas.wire.codec import decode

log = logging.getLogger(__name__)
FILE = "crashes.json"
MAX_RANGES = 200
MAX_LOGGED_CHUNKS = 100
DIGEST_BYTES = 16


class ChunkRange(NamedTuple):
    """Place of one chunk: topic, partition, first and last offset."""

    topic: str
    partition: int
    first: int
    last: int


class CrashLog:
    """Ranges of the last crashes, and the chunks in flight. Without a path it remembers nothing."""

    def __init__(self, path: Path | None = None, *, is_restarted: bool = False) -> None:
        self.in_flight: set[ChunkRange] = set()
        self._left_to_log = MAX_LOGGED_CHUNKS if is_restarted else 0
        self.isolation = asyncio.Lock()  # one chunk in isolation at a time: its batches hold no record of another one
        self._path = path
        self._crashed, self._digests = _read(path) if path else ([], [])
        self._by_partition: defaultdict[tuple[str, int], list[ChunkRange]] = defaultdict(list)
        for each in self._crashed:
            self._by_partition[each.topic, each.partition].append(each)

    def begin(self, chunk: ChunkRange, stage: str) -> None:
        """Add a chunk in flight, and log it if it is one of the first after a restart."""
        self.in_flight.add(chunk)
        if self._left_to_log:
            self._left_to_log -= 1
            log.info("stage %s begins %s/%d offsets %d to %d", stage, *chunk)

    def covers(self, chunk: ChunkRange) -> bool:
        """Return whether a chunk overlaps one that was in flight when an earlier run crashed."""
        ranges = self._by_partition.get((chunk.topic, chunk.partition)) if self._by_partition else None
        return ranges is not None and any(each.first <= chunk.last and chunk.first <= each.last for each in ranges)

    def remember(self, value: bytes | None) -> None:
        """Write the digest of a record that became a dead letter to the file."""
        self._digests = list(dict.fromkeys([*self._digests, _digest(value)]))[-MAX_RANGES:]
        self._write(self._crashed)

    def knows_any(self) -> bool:
        """Return whether any record has become a dead letter in isolation."""
        return bool(self._digests)

    def knows(self, value: bytes | None) -> bool:
        """Return whether a record with these bytes has become a dead letter in isolation."""
        return _digest(value) in self._digests

    def record(self) -> None:
        """Write the chunks in flight to the file, after those of earlier crashes. Called right before the process ends."""
        self._write(list(dict.fromkeys([*self._crashed, *sorted(self.in_flight)]))[-MAX_RANGES:])

    def _write(self, ranges: list[ChunkRange]) -> None:
        if self._path is None:
            return
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("w") as out:
                json.dump({"ranges": ranges, "digests": self._digests}, out)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self._path)
        except OSError as error:
            log.critical("cannot remember the chunks in flight in %s (%s)", self._path, error.strerror)


def _digest(value: bytes | None) -> str:
    """Return the digest of a record, or of the touchpoint inside a `resolved` record."""
    content = value or b""
    with suppress(RecordError):
        name, fields = decode(value)
        content = fields["touchpoint"] if name == "resolved" else content
    return blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _read(path: Path) -> tuple[list[ChunkRange], list[str]]:
    """Return the ranges and digests of the file, none for a file that is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        ranges = [ChunkRange(str(topic), int(part), int(first), int(last)) for topic, part, first, last in content["ranges"]]
        return ranges, [str(each) for each in content["digests"]]
    except FileNotFoundError:
        return [], []
    except (LookupError, OSError, TypeError, ValueError) as error:
        log.warning("cannot read %s (%s): chunks of earlier crashes are processed like all others", path, type(error).__name__)
        return [], []
