"""The Snowplow tracker protocol: POST /com.snowplowanalytics.snowplow/tp2 and GET /i, where every value is a text."""

import base64
import binascii
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Item, Request, corrected, digest, json_object, refused, told, word
from connectors.mapping.functions import epoch_ms
from schemas.errors import RecordError

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
TYPES = {"pv": "page.viewed", "pp": "page.pinged", "tr": "transaction.tracked", "ti": "transaction_item.tracked"}


class Payload(msgspec.Struct):
    """The body of a POST; its events stay the bytes that came."""

    data: list[msgspec.Raw]


def events(request: Request) -> list[Item | RejectedRecord]:
    """The events of a request. Raises BadRequestError for a body that is no payload."""
    if request.method == "GET":
        raw = request.query.encode("utf-8", "surrogateescape")
        return [_event(raw, dict(parse_qsl(request.query)), request.at)]
    try:
        payload = msgspec.json.decode(request.body, type=Payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be a payload_data object with a list `data`") from None
    return [_event(bytes(raw), None, request.at) for raw in payload.data]


def _event(raw: bytes, fields: dict[str, Any] | None, received: datetime) -> Item | RejectedRecord:
    try:
        data = json_object(raw) if fields is None else fields
        event, contexts = _described(data, "ue_pr", "ue_px"), _described(data, "co", "cx")
        happened = _happened(data, received)
    except RecordError as error:
        return refused(raw, error)
    inner = event.get("data") if isinstance(event, dict) else None
    own = {
        "what": _what(data, inner),
        "happened": happened,
        "unstructured": inner,
        "contexts": contexts.get("data") if isinstance(contexts, dict) else None,
        "more": inner.get("data") if isinstance(inner, dict) else {name: data[name] for name in data if name.startswith("se_")},
    }
    name = data.get("eid")
    return Item(name if name and isinstance(name, str) else digest(raw), {**data, **own}, raw)


def _described(data: dict[str, Any], name: str, packed: str) -> Any:
    """A self-describing JSON, written plainly or in base64 for addresses. Raises RecordError."""
    text = data.get(name)
    try:
        if isinstance(folded := data.get(packed), str):
            text = base64.urlsafe_b64decode(folded + "=" * (-len(folded) % 4))
        return None if text is None else msgspec.json.decode(text)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise RecordError("wrong_type", f"field {name} or {packed} must be JSON") from None


def _happened(data: dict[str, Any], received: datetime) -> datetime:
    """The true time where it is told, else the device's by our clock."""
    true, device, sent = (told(data.get(name), name, epoch_ms) for name in ("ttm", "dtm", "stm"))
    return true or corrected(received, sent, device)


def _what(data: dict[str, Any], inner: Any) -> str:
    kind = str(data.get("e"))
    if kind == "se":
        return f"{word(data.get('se_ca'))}.{word(data.get('se_ac'))}"
    if kind == "ue" and isinstance(inner, dict):
        schema = str(inner.get("schema")).split("/")
        return f"event.{word(schema[1] if len(schema) > 1 else schema[0])}"
    return TYPES.get(kind, f"event.{word(kind)}")
