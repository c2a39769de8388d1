"""Parser of the Snowplow tracker protocol: POST /com.snowplowanalytics.snowplow/tp2 and GET /i; every value is a text."""

import base64
import binascii
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

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
    reject,
    to_word,
)
from connectors.mapping.functions import epoch_ms
from schemas.errors import RecordError

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
TYPES = {"pv": "page.viewed", "pp": "page.pinged", "tr": "transaction.tracked", "ti": "transaction_item.tracked"}


class Payload(msgspec.Struct):
    """The body of a POST; its events stay bytes."""

    data: list[msgspec.Raw]


def parse_events(request: Request) -> list[Event | RejectedRecord]:
    """Return the events of a request. Raises BadRequestError for a body that is not a payload."""
    if request.method == "GET":
        raw = request.query.encode("utf-8", "surrogateescape")
        return [_parse_event(raw, dict(parse_qsl(request.query)), request.at)]
    try:
        payload = msgspec.json.decode(request.body, type=Payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be a payload_data object with a list `data`") from None
    return [_parse_event(bytes(raw), None, request.at) for raw in payload.data]


def _parse_event(raw: bytes, fields: dict[str, Any] | None, received: datetime) -> Event | RejectedRecord:
    try:
        data = parse_object(raw) if fields is None else fields
        event, contexts = _parse_json(data, "ue_pr", "ue_px"), _parse_json(data, "co", "cx")
        happened_at = _find_time(data, received)
    except RecordError as error:
        return reject(raw, error)
    inner = event.get("data") if isinstance(event, dict) else None
    own = {
        "event_type": _find_type(data, inner),
        "happened_at": happened_at,
        "unstructured": inner,
        "contexts": contexts.get("data") if isinstance(contexts, dict) else None,
        "more": inner.get("data") if isinstance(inner, dict) else {name: data[name] for name in data if name.startswith("se_")},
    }
    name = data.get("eid")
    return Event(name if name and isinstance(name, str) else hash_bytes(raw), {**data, **own}, raw)


def _parse_json(data: dict[str, Any], name: str, packed: str) -> Any:
    """Return a self-describing JSON, which is plain or URL-safe base64. Raises RecordError."""
    text = data.get(name)
    try:
        if isinstance(encoded := data.get(packed), str):
            text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return None if text is None else msgspec.json.decode(text)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise RecordError("wrong_type", f"field {name} or {packed} must be JSON") from None


def _find_time(data: dict[str, Any], received: datetime) -> datetime:
    """Return the true time if the tracker sends one, else the device's time corrected to the local clock."""
    true, device, sent = (parse_field(data.get(name), name, epoch_ms) for name in ("ttm", "dtm", "stm"))
    return true or correct_time(received, sent, device)


def _find_type(data: dict[str, Any], inner: Any) -> str:
    kind = str(data.get("e"))
    if kind == "se":
        return f"{to_word(data.get('se_ca'))}.{to_word(data.get('se_ac'))}"
    if kind == "ue" and isinstance(inner, dict):
        schema = str(inner.get("schema")).split("/")
        return f"event.{to_word(schema[1] if len(schema) > 1 else schema[0])}"
    return TYPES.get(kind, f"event.{to_word(kind)}")
