"""CloudEvents 1.0 over HTTP: binary (attributes in headers), structured, and batches."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Event, Request, parse_field, parse_object, parse_time, reject, to_word
from schemas.errors import RecordError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
REQUIRED = ("specversion", "id", "source", "type")


def read_bearer_key(request: Request) -> str | None:
    """Return the bearer token of the request, if any."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def parse_events(request: Request) -> list[Event | RejectedRecord]:
    """Return the events of a request. Raises BadRequestError if it is in none of the three modes."""
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media == BATCH:
        return [_parse_structured(bytes(raw), request) for raw in _split_batch(request.body)]
    if media == STRUCTURED:
        return [_parse_structured(request.body, request)]
    if "ce-specversion" in request.headers:
        return [_parse_binary(request, media)]
    raise BadRequestError(f"send {STRUCTURED}, {BATCH}, or the attributes in ce- headers")


def _split_batch(body: bytes) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body of a batch must be a JSON list of events") from None


def _parse_structured(raw: bytes, request: Request) -> Event | RejectedRecord:
    try:
        event = parse_object(raw)
        if isinstance(packed := event.pop("data_base64", None), str):
            event["data"] = _decode_data(base64.b64decode(packed, validate=True), str(event.get("datacontenttype", "")))
        return _create_event(event, raw, request)
    except binascii.Error:
        return reject(raw, RecordError("wrong_type", "data_base64 must be base64"))
    except RecordError as error:
        return reject(raw, error)


def _parse_binary(request: Request, media: str) -> Event | RejectedRecord:
    attributes = {name.lower()[3:]: unquote(value) for name, value in request.headers.items() if name.lower().startswith("ce-")}
    raw = msgspec.json.encode({**attributes, "datacontenttype": media, "data_base64": base64.b64encode(request.body).decode()})
    try:
        return _create_event({**attributes, "data": _decode_data(request.body, media)}, raw, request)
    except RecordError as error:
        return reject(raw, error)


def _decode_data(body: bytes, media: str) -> Any:
    """Return the data: JSON for a JSON media type or none, text for other types, None for binary data."""
    if not body:
        return None
    try:
        if not media or media.endswith(("/json", "+json")):
            return msgspec.json.decode(body)
        return body.decode()
    except msgspec.DecodeError:
        raise RecordError("broken_line", "the event's data must be JSON, as its content type states") from None
    except UnicodeDecodeError:
        return None


def _create_event(event: dict[str, Any], raw: bytes, request: Request) -> Event:
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise RecordError("missing_field", f"attribute {name} is required and must be a text")
    if not event["specversion"].startswith("1."):
        raise RecordError("wrong_type", "attribute specversion must be 1.0")
    happened_at = parse_field(event.get("time"), "time", parse_time) or request.at
    event_type = ".".join(to_word(part) for part in event["type"].split(".") if part)
    event_type = event_type if "." in event_type else f"event.{event_type}"
    own = {"event_type": event_type, "happened_at": happened_at, "data": event.get("data")}
    return Event(f"{event['source']} {event['id']}", {**event, **own}, raw)
