"""One HTTP request as a value, and what all protocols do with it: JSON, times by a clock that is not ours, words, keys."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from connectors.contract import RejectedRecord
from connectors.mapping.functions import iso
from schemas.errors import RecordError

NO_WORD = re.compile(r"[^a-z0-9]+")
LONGEST_WORD = 60


@dataclass(frozen=True, slots=True)
class Request:
    """`path` and `query` as they came, header names in any case, `body` unpacked, `at` when it was received."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime


class Item(NamedTuple):
    """One event of a request: `id` stays the same when it is sent again, `data` is what the mapping reads, `raw` its bytes."""

    id: str
    data: dict[str, Any]
    raw: bytes


class BadRequestError(Exception):
    """The body is not what its protocol says; the text says what was expected, never what came."""


def digest(raw: bytes) -> str:
    """The id of an event that has none: the same bytes are the same event."""
    return sha256(raw).hexdigest()[:32]


def json_object(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """A JSON object. Raises RecordError."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("broken_line", "the event must be JSON") from None
    if not isinstance(found, dict):
        raise RecordError("broken_line", "the event must be one JSON object")
    return found


def refused(raw: bytes, error: RecordError) -> RejectedRecord:
    """An event that cannot be read, with its bytes."""
    return RejectedRecord(raw, len(raw), "-", error)


def time(value: object) -> datetime | None:
    """UTC time of an ISO 8601 text; UTC is meant where the text names no zone. Raises RecordError."""
    return iso(value, "UTC")


def told(value: object, field: str, parse: Callable[[Any], datetime | None]) -> datetime | None:
    """The time that a field tells. Raises RecordError naming the field."""
    try:
        return parse(value)
    except RecordError as error:
        raise RecordError(error.reason, f"field {field}: {error.detail}") from None


def corrected(received: datetime, sent: datetime | None, happened: datetime | None) -> datetime:
    """When it happened by our clock: the sender's clock counts only for how long before sending it was.

    What happened later than it was sent, happened when it was received. Without `sent`, the time as told; without that, too, when
    it was received. Raises RecordError beyond the calendar.
    """
    if happened is None or sent is None:
        return happened or received
    try:
        return min(received, received - (sent - happened))
    except OverflowError:
        raise RecordError("absurd_date", "the time reaches beyond the calendar") from None


def word(text: object) -> str:
    """A text as part of a touchpoint's type: small letters and digits, joined by underscores."""
    return NO_WORD.sub("_", str(text).lower()).strip("_")[:LONGEST_WORD] or "unnamed"
