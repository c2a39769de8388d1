"""CloudEvents 1.0 over HTTP: binary (attributes in headers), structured, and batches."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Item, Request, json_object, refused, time, told, word
from schemas.errors import RecordError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
REQUIRED = ("specversion", "id", "source", "type")


def bearer(request: Request) -> str | None:
    """The key that authorizes the request."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def events(request: Request) -> list[Item | RejectedRecord]:
    """The events of a request. Raises BadRequestError where it is none of the three modes."""
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media == BATCH:
        return [_structured(bytes(raw), request) for raw in _entries(request.body)]
    if media == STRUCTURED:
        return [_structured(request.body, request)]
    if "ce-specversion" in request.headers:
        return [_binary(request, media)]
    raise BadRequestError(f"send {STRUCTURED}, {BATCH}, or the attributes in ce- headers")


def _entries(body: bytes) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body of a batch must be a JSON list of events") from None


def _structured(raw: bytes, request: Request) -> Item | RejectedRecord:
    try:
        event = json_object(raw)
        if isinstance(packed := event.pop("data_base64", None), str):
            event["data"] = _content(base64.b64decode(packed, validate=True), str(event.get("datacontenttype", "")))
        return _item(event, raw, request)
    except binascii.Error:
        return refused(raw, RecordError("wrong_type", "data_base64 must be base64"))
    except RecordError as error:
        return refused(raw, error)


def _binary(request: Request, media: str) -> Item | RejectedRecord:
    told = {name.lower()[3:]: unquote(value) for name, value in request.headers.items() if name.lower().startswith("ce-")}
    raw = msgspec.json.encode({**told, "datacontenttype": media, "data_base64": base64.b64encode(request.body).decode()})
    try:
        return _item({**told, "data": _content(request.body, media)}, raw, request)
    except RecordError as error:
        return refused(raw, error)


def _content(body: bytes, media: str) -> Any:
    """The data: JSON where the media type says so or says nothing, else the text; what is no text is left out."""
    if not body:
        return None
    try:
        if not media or media.endswith(("/json", "+json")):
            return msgspec.json.decode(body)
        return body.decode()
    except msgspec.DecodeError:
        raise RecordError("broken_line", "the event's data must be the JSON that its content type says") from None
    except UnicodeDecodeError:
        return None


def _item(event: dict[str, Any], raw: bytes, request: Request) -> Item:
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise RecordError("missing_field", f"attribute {name} is required and must be a text")
    if not event["specversion"].startswith("1."):
        raise RecordError("wrong_type", "attribute specversion must be 1.0")
    happened = told(event.get("time"), "time", time) or request.at
    what = ".".join(word(part) for part in event["type"].split(".") if part)
    own = {"what": what if "." in what else f"event.{what}", "happened": happened, "data": event.get("data")}
    return Item(f"{event['source']} {event['id']}", {**event, **own}, raw)
