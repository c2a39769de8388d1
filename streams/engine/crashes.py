"""Memory of crashes: the chunks that were in flight. With it, the same record never ends a worker twice.

1. An unexpected exception ends the process. Before the end, `CrashLog.record` writes the offset ranges of all chunks in flight
   to a file in the worker's folder. A chunk without an exception writes nothing.
2. The next run reads the file. A stage processes each chunk that overlaps one of the ranges in isolation (`stage.py`).

A process that the kernel kills writes no file. After a restart by the supervisor, the log therefore names the first chunks that
the worker begins, so that a person can find the record and run `touchline skip`.

The file keeps the newest `MAX_RANGES` ranges. An old range does no harm, because isolation gives the same results.
"""

import asyncio
import json
import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)
FILE = "crashes.json"
MAX_RANGES = 200
MAX_LOGGED_CHUNKS = 100


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
        self._crashed = _read(path) if path else []
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

    def record(self) -> None:
        """Write the chunks in flight to the file, after those of earlier crashes. Called right before the process ends."""
        if self._path is None:
            return
        ranges = list(dict.fromkeys([*self._crashed, *sorted(self.in_flight)]))[-MAX_RANGES:]
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("w") as out:
                json.dump(ranges, out)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self._path)
        except OSError as error:
            log.critical("cannot remember the chunks in flight in %s (%s)", self._path, error.strerror)


def _read(path: Path) -> list[ChunkRange]:
    """Return the ranges of the file, none for a file that is missing or damaged."""
    try:
        found = [ChunkRange(str(topic), int(number), int(first), int(last)) for topic, number, first, last in _load(path)]
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ValueError) as error:
        log.warning("cannot read %s (%s): chunks of earlier crashes are processed like all others", path, type(error).__name__)
        return []
    return found


def _load(path: Path) -> list[list[str]]:
    loaded: list[list[str]] = json.loads(path.read_text())
    return loaded
