"""Reader of JSON Lines: one object per line; it rejects any other line with its bytes."""

import json
import math
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from connectors.files.row import MAX_RECORD_BYTES, Line, Lines, Row
from connectors.files.settings import Feed
from schemas.errors import RecordError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_rows(file: BufferedReader, _feed: Feed) -> Iterator[Row]:
    """Yield the records of a JSON Lines file without blank lines."""
    if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        file.seek(0)
    lines = Lines(file)
    for line in lines:
        if not line.raw.isspace():
            yield Row(line.number, line.raw, line.size, _parse(line), lines.share)


def _parse(line: Line) -> dict[str, Any] | RecordError:
    if line.size > len(line.raw):
        return RecordError("too_long", f"the line has more than {MAX_RECORD_BYTES} bytes")
    try:
        data = json.loads(line.raw.decode(), parse_float=_parse_finite, parse_constant=_parse_finite)
    except UnicodeDecodeError as error:
        return RecordError("invalid_utf8", f"byte {error.start + 1} of the line is not valid UTF-8")
    except json.JSONDecodeError as error:
        return RecordError("broken_line", f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}")
    except (ValueError, RecursionError):
        return RecordError("broken_line", "the JSON holds a number beyond all bounds, or is nested too deeply")
    if not isinstance(data, dict):
        return RecordError("broken_line", "the line must be one JSON object")
    return data


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value
