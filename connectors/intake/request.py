"""One HTTP request as a value, and functions that all protocols use: JSON, times of a sender's clock, words, ids."""

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

NOT_WORD = re.compile(r"[^a-z0-9]+")
MAX_WORD_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names are case-insensitive, `body` is decompressed, `at` is the time of receipt."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime


class Event(NamedTuple):
    """One event of a request: `id` is the same for each delivery, `data` is the input of the mapping, `raw` its bytes."""

    id: str
    data: dict[str, Any]
    raw: bytes


class BadRequestError(Exception):
    """The body violates its protocol. The text names the expected form, never received data."""


def hash_bytes(raw: bytes) -> str:
    """Return a hash as the id of an event without an id: equal bytes are the same event."""
    return sha256(raw).hexdigest()[:32]


def parse_object(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """Return a JSON object. Raises RecordError."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("broken_line", "the event must be JSON") from None
    if not isinstance(value, dict):
        raise RecordError("broken_line", "the event must be one JSON object")
    return value


def reject(raw: bytes, error: RecordError) -> RejectedRecord:
    """Return a rejected event with its bytes."""
    return RejectedRecord(raw, len(raw), "-", error)


def parse_time(value: object) -> datetime | None:
    """Return the UTC time of an ISO 8601 text; a text without zone is UTC. Raises RecordError."""
    return iso(value, "UTC")


def parse_field(value: object, field: str, parse: Callable[[Any], datetime | None]) -> datetime | None:
    """Return the time in a field. Raises RecordError with the field's name."""
    try:
        return parse(value)
    except RecordError as error:
        raise RecordError(error.reason, f"field {field}: {error.detail}") from None


def correct_time(received: datetime, sent: datetime | None, happened: datetime | None) -> datetime:
    """Return the time of an event by the local clock: the receipt minus the time between event and sending.

    Only differences of the sender's clock count. An event dated after its sending has the time of receipt. Without `sent` the
    result is `happened`, without both `received`. Raises RecordError for a time outside of the calendar.
    """
    if happened is None or sent is None:
        return happened or received
    try:
        return min(received, received - (sent - happened))
    except OverflowError:
        raise RecordError("absurd_date", "the time reaches beyond the calendar") from None


def to_word(text: object) -> str:
    """Return a text as a part of a touchpoint's type: lower-case letters and digits, joined by underscores."""
    return NOT_WORD.sub("_", str(text).lower()).strip("_")[:MAX_WORD_LENGTH] or "unnamed"
