"""Rows and lines of a file, read one after the other in bounded memory; shared by the three formats."""

import io
import os
from collections import deque
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, NamedTuple

from schemas.errors import RecordError
from schemas.records.dead_letter import MAX_PAYLOAD_BYTES

MAX_RECORD_BYTES = 8 * 1024 * 1024


class Row(NamedTuple):
    """One record of a file: `number` of its first line or row (from 1), its bytes, and its data or the error.

    `size` is the full length in bytes; `raw` keeps at most 8 MiB. `share` is the part of the file that is read so far, 0 to 1.
    """

    number: int
    raw: bytes
    size: int
    data: dict[str, Any] | RecordError
    share: float


class Line(NamedTuple):
    """One line with its ending; `size` exceeds `len(raw)` if the line is too long to keep."""

    number: int
    raw: bytes
    size: int


class Lines:
    """The lines of a file; lines of a broken record can be pushed back and read again."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._returned: deque[Line] = deque()
        self._number = 0
        self._size = os.fstat(file.fileno()).st_size
        self._read = 0

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        if self._returned:
            return self._returned.popleft()
        raw = self._file.readline(MAX_RECORD_BYTES)
        if not raw:
            raise StopIteration
        size = len(raw)
        rest = raw
        while len(rest) == MAX_RECORD_BYTES and not rest.endswith(b"\n"):
            rest = self._file.readline(MAX_RECORD_BYTES)
            size += len(rest)
        self._number += 1
        self._read += size
        return Line(self._number, raw, size)

    def unread(self, lines: list[Line]) -> None:
        """Push lines back: they are the next lines to read."""
        self._returned.extendleft(reversed(lines))

    @property
    def share(self) -> float:
        """Return the part of the file that is read so far, 0 to 1."""
        return min(1.0, self._read / max(1, self._size))


def reject_file(file: BufferedReader, detail: str) -> Row:
    """Return a row that rejects the whole file, with as many of its bytes as a dead letter keeps."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Row(1, file.read(MAX_PAYLOAD_BYTES), size, RecordError("broken_file", detail), 1.0)
