"""JSON Lines: one object per line; a line that is none is refused with its bytes."""

import json
import math
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from connectors.files.row import MAX_RECORD, Line, Lines, Row
from connectors.files.settings import Feed
from schemas.errors import RecordError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def rows(file: BufferedReader, _feed: Feed) -> Iterator[Row]:
    """The records of a JSON Lines file, blank lines skipped."""
    if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        file.seek(0)
    lines = Lines(file)
    for line in lines:
        if not line.raw.isspace():
            yield Row(line.number, line.raw, line.size, _data(line), lines.share)


def _data(line: Line) -> dict[str, Any] | RecordError:
    if line.size > len(line.raw):
        return RecordError("too_long", f"the line has more than {MAX_RECORD} bytes")
    try:
        data = json.loads(line.raw.decode(), parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        return RecordError("invalid_utf8", f"byte {error.start + 1} of the line is not valid UTF-8")
    except json.JSONDecodeError as error:
        return RecordError("broken_line", f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}")
    except (ValueError, RecursionError):
        return RecordError("broken_line", "the JSON holds a number beyond all bounds, or is nested too deeply")
    if not isinstance(data, dict):
        return RecordError("broken_line", "the line must be one JSON object")
    return data


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value
