"""The Segment HTTP API, as Segment's and RudderStack's libraries speak it: /v1/batch, the single calls, their short names."""

import base64
import binascii
from typing import Any

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Item, Request, corrected, digest, json_object, refused, time, told, word
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
    """The body of a batch; its events stay the bytes that came."""

    batch: list[msgspec.Raw] = []
    sent_at: Any = None
    write_key: str | None = None


def envelope(request: Request) -> Envelope:
    """The body around the events. Raises BadRequestError."""
    try:
        return msgspec.json.decode(request.body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be a JSON object; of a batch, with a list `batch`") from None


def write_key(request: Request) -> str | None:
    """The key in the user name of Basic authorization; browsers send it in the body."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return envelope(request).write_key
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def events(request: Request) -> list[Item | RejectedRecord]:
    """The events of a call. Raises BadRequestError for a body that is none, or a call that does not exist."""
    call = request.path.rpartition("/")[2]
    found = envelope(request)
    if call in BATCHES:
        return [_event(bytes(raw), found.sent_at, None, request) for raw in found.batch]
    if (kind := CALLS.get(call, call)) not in CALLS.values():
        raise BadRequestError(f"there is batch, import, {', '.join(CALLS.values())} at this path")
    return [_event(request.body, found.sent_at, kind, request)]


def _event(raw: bytes, sent: object, kind: str | None, request: Request) -> Item | RejectedRecord:
    try:
        data = json_object(raw)
        kind = kind or data.get("type")
        if not kind:
            raise RecordError("missing_field", "field type is required")
        happened = corrected(request.at, told(sent, "sentAt", time), told(data.get("timestamp"), "timestamp", time))
    except RecordError as error:
        return refused(raw, error)
    what = TYPES.get(str(kind)) or f"{word(kind)}.{word(data.get('event') or data.get('name'))}"
    name = data.get("messageId")
    person = data.get("traits") if kind != "group" else None
    more = data.get("properties") or data.get("traits")
    own = {"type": kind, "what": what, "happened": happened, "person": person, "more": more}
    return Item(name if name and isinstance(name, str) else digest(raw), {**data, **own}, raw)
