"""Parser of the Segment HTTP API of Segment's and RudderStack's libraries: /v1/batch, the single calls, their short names."""

import base64
import binascii
from typing import Any

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import (
    BadRequestError,
    Event,
    Request,
    correct_time,
    hash_bytes,
    parse_field,
    parse_object,
    parse_time,
    reject,
    to_word,
)
from schemas.errors import RecordError

BATCHES = frozenset({"batch", "import", "b"})
CALLS = {"t": "track", "p": "page", "i": "identify", "a": "alias", "g": "group", "s": "screen"}
TYPES = {
    "page": "page.viewed",
    "screen": "screen.viewed",
    "identify": "profile.identified",
    "alias": "profile.linked",
    "group": "group.joined",
}


class Envelope(msgspec.Struct, rename="camel"):
    """The body of a batch; its events stay bytes."""

    batch: list[msgspec.Raw] = []
    sent_at: Any = None
    write_key: str | None = None


def parse_envelope(request: Request) -> Envelope:
    """Return the body around the events. Raises BadRequestError."""
    try:
        return msgspec.json.decode(request.body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be a JSON object; the body of a batch needs a list `batch`") from None


def read_write_key(request: Request) -> str | None:
    """Return the key: the user name of Basic authorization, or `writeKey` of the body, which browsers send."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return parse_envelope(request).write_key
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def parse_events(request: Request) -> list[Event | RejectedRecord]:
    """Return the events of a call. Raises BadRequestError for an invalid body or an unknown call."""
    call = request.path.rpartition("/")[2]
    envelope = parse_envelope(request)
    if call in BATCHES:
        return [_parse_event(bytes(raw), envelope.sent_at, None, request) for raw in envelope.batch]
    if (kind := CALLS.get(call, call)) not in CALLS.values():
        raise BadRequestError(f"unknown call: this path serves batch, import, {', '.join(CALLS.values())}")
    return [_parse_event(request.body, envelope.sent_at, kind, request)]


def _parse_event(raw: bytes, sent: object, kind: str | None, request: Request) -> Event | RejectedRecord:
    try:
        data = parse_object(raw)
        kind = kind or data.get("type")
        if not kind:
            raise RecordError("missing_field", "field type is required")
        sent_at = parse_field(sent, "sentAt", parse_time)
        happened_at = correct_time(request.at, sent_at, parse_field(data.get("timestamp"), "timestamp", parse_time))
    except RecordError as error:
        return reject(raw, error)
    event_type = TYPES.get(str(kind)) or f"{to_word(kind)}.{to_word(data.get('event') or data.get('name'))}"
    name = data.get("messageId")
    person = data.get("traits") if kind != "group" else None
    more = data.get("properties") or data.get("traits")
    own = {"type": kind, "event_type": event_type, "happened_at": happened_at, "person": person, "more": more}
    return Event(name if name and isinstance(name, str) else hash_bytes(raw), {**data, **own}, raw)
