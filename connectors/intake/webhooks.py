"""Signed webhooks as events: a body that is a list, as HubSpot's, is as many events as it has entries."""

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Item, Request, digest, json_object, refused
from connectors.intake.schemes import Scheme
from schemas.errors import RecordError


def events(scheme: Scheme, request: Request) -> list[Item | RejectedRecord]:
    """The delivery's events. Raises BadRequestError for a body that is no JSON object or list."""
    raws = _entries(request.body) if request.body.lstrip()[:1] == b"[" else [request.body]
    delivery = request.headers.get(scheme.id, "") if scheme.id else ""
    told = {"topic": scheme.topic, "triggered": scheme.triggered}
    own = {name: request.headers.get(header) if header else None for name, header in told.items()} | {"happened": request.at}
    found: list[Item | RejectedRecord] = []
    for number, raw in enumerate(raws):
        try:
            body = json_object(raw)
        except RecordError as error:
            if raw is request.body:
                raise BadRequestError("the body must be JSON") from None
            found.append(refused(raw, error))
            continue
        name = (f"{delivery}/{number}" if number else delivery) if delivery else digest(raw)
        found.append(Item(name, {"id": name, "body": body, **own}, raw))
    return found


def _entries(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be JSON") from None
