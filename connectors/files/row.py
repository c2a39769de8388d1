"""What the three formats have in common: rows of bytes and data, read one after the other in bounded memory."""

import io
import os
from collections import deque
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, NamedTuple

from schemas.errors import RecordError
from schemas.records.dead_letter import MAX_PAYLOAD_BYTES

MAX_RECORD = 8 * 1024 * 1024


class Row(NamedTuple):
    """One record of a file: its first line or row `number` from 1, its bytes, and its data or what is wrong with it.

    `size` is the full length of its bytes, of which `raw` keeps at most 8 MiB; `share` is how much of the file lies behind it.
    """

    number: int
    raw: bytes
    size: int
    data: dict[str, Any] | RecordError
    share: float


class Line(NamedTuple):
    """One line with its ending; `size` exceeds `len(raw)` where it was too long to keep."""

    number: int
    raw: bytes
    size: int


class Lines:
    """The lines of a file, with a way back: lines taken for a record that turned out broken are read again."""

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
        raw = self._file.readline(MAX_RECORD)
        if not raw:
            raise StopIteration
        size = len(raw)
        rest = raw
        while len(rest) == MAX_RECORD and not rest.endswith(b"\n"):
            rest = self._file.readline(MAX_RECORD)
            size += len(rest)
        self._number += 1
        self._read += size
        return Line(self._number, raw, size)

    def give_back(self, lines: list[Line]) -> None:
        """The next lines to come are these again."""
        self._returned.extendleft(reversed(lines))

    @property
    def share(self) -> float:
        """How much of the file was read, 0 to 1."""
        return min(1.0, self._read / max(1, self._size))


def whole_file(file: BufferedReader, detail: str) -> Row:
    """The one row of a file that cannot be read as what it should be: all its bytes, as far as a dead letter keeps them."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Row(1, file.read(MAX_PAYLOAD_BYTES), size, RecordError("broken_file", detail), 1.0)
