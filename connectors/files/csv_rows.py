"""Reader of CSV and column-aligned text. It splits bytes, so a broken record keeps its bytes and does not affect its neighbours.

A quoted cell may contain line ends: a record has at most 1,000 lines or 8 MiB. If a quote is not closed, the reader rejects only
the first line and continues at the next line.
"""

import csv
from collections.abc import Iterator
from io import BufferedReader
from typing import NamedTuple

from connectors.files.row import MAX_RECORD_BYTES, Line, Lines, Row, reject_file
from connectors.files.settings import Feed
from schemas.errors import RecordError

MAX_LINES = 1_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OPEN_QUOTE = RecordError("broken_line", "a quote is not closed, or something other than a delimiter follows a closing quote")
NUL = RecordError("broken_line", "the record holds NUL bytes: the file was damaged, or is not text")
TOO_LONG = RecordError("too_long", f"the line has more than {MAX_RECORD_BYTES} bytes")

csv.field_size_limit(MAX_RECORD_BYTES)


class Split(NamedTuple):
    """The lines of one record, and its cells or the error."""

    lines: list[Line]
    cells: list[str] | RecordError


def read_rows(file: BufferedReader, feed: Feed) -> Iterator[Row]:
    """Yield the records of a CSV file without blank lines."""
    if feed.encoding == "utf-8" and file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        file.seek(0)
    lines = Lines(file)
    header = feed.header
    if header is None:
        first = next(split_records(lines, feed, 0), None)
        if first is None:
            return
        problem = _check_header(first.cells, feed.columns)
        if isinstance(first.cells, RecordError) or problem:
            yield reject_file(file, problem)
            return
        header = [cell.strip() for cell in first.cells]
    for taken, cells in split_records(lines, feed, len(header)):
        data = cells if isinstance(cells, RecordError) else _name_cells(cells, header)
        raw = taken[0].raw if len(taken) == 1 else b"".join(line.raw for line in taken)
        yield Row(taken[0].number, raw, sum(line.size for line in taken), data, lines.share)


def split_records(lines: Lines, feed: Feed, width: int) -> Iterator[Split]:
    """Yield records; each line belongs to exactly one. `width` is the number of columns, or 0 before the header is read."""
    delimiter, encoding = feed.delimiter, feed.encoding
    for line in lines:
        raw = line.raw
        if raw.isspace():
            continue
        if line.size > len(raw):
            yield Split([line], TOO_LONG)
        elif b"\0" in raw:
            yield Split([line], NUL)
        elif delimiter != "whitespace" and b'"' in raw:
            yield _split_quoted(line, lines, feed, width)
        else:
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                yield Split([line], _create_decoding_error(error, encoding))
            else:
                yield Split([line], text.split() if delimiter == "whitespace" else text.rstrip("\r\n").split(delimiter))


def _split_quoted(line: Line, lines: Lines, feed: Feed, width: int) -> Split:
    """Return the record that begins with `line`, which contains quotes."""
    taken = [line]
    try:
        cells = next(csv.reader(_take_lines(taken, lines, feed.encoding), delimiter=feed.delimiter, strict=True))
    except csv.Error:
        lines.unread(taken[1:])
        return Split([line], OPEN_QUOTE)
    if len(taken) > 1 and width and _has_wrong_width(cells, width):
        lines.unread(taken[1:])
        return Split([line], OPEN_QUOTE)
    raw = b"".join(one.raw for one in taken)
    try:
        raw.decode(feed.encoding)
    except UnicodeDecodeError as error:
        return Split(taken, _create_decoding_error(error, feed.encoding))
    return Split(taken, NUL if b"\0" in raw else cells)


def _take_lines(taken: list[Line], lines: Lines, encoding: str) -> Iterator[str]:
    """Yield the lines of one record to csv.reader, up to the limits."""
    yield taken[0].raw.decode(encoding, "surrogateescape")
    size = taken[0].size
    for line in lines:
        taken.append(line)
        size += line.size
        if len(taken) > MAX_LINES or size > MAX_RECORD_BYTES:
            return
        yield line.raw.decode(encoding, "surrogateescape")


def _has_wrong_width(cells: list[str], width: int) -> bool:
    return len(cells) < width or any(cell.strip() for cell in cells[width:])


def _name_cells(cells: list[str], header: list[str]) -> dict[str, str] | RecordError:
    """Return the cells by column, without empty cells."""
    if len(cells) != len(header) and _has_wrong_width(cells, len(header)):
        reason = "broken_line" if len(cells) < len(header) else "unknown_column"
        return RecordError(reason, f"the record has {len(cells)} cells where the header has {len(header)}")
    return {column: cell for column, cell in zip(header, cells, strict=False) if cell}


def _check_header(cells: list[str] | RecordError, columns: list[str]) -> str:
    if isinstance(cells, RecordError):
        return f"the header line cannot be read: {cells.detail}"
    names = [cell.strip() for cell in cells if cell.strip()]
    if len(set(names)) != len(names):
        return "the header line names a column twice"
    if not set(names) & set(columns):
        return "the first line is no header: it names none of the feed's columns (for files without one, set `header`)"
    return ""


def _create_decoding_error(error: UnicodeDecodeError, encoding: str) -> RecordError:
    return RecordError("invalid_utf8", f"byte {error.start + 1} of the record is not valid {encoding}")
