"""Parser of signed webhooks. Each entry of a body that is a list (HubSpot) is one event."""

import msgspec

from connectors.contract import RejectedRecord
from connectors.intake.request import BadRequestError, Event, Request, hash_bytes, parse_object, reject
from connectors.intake.schemes import Scheme
from schemas.errors import RecordError


def parse_events(scheme: Scheme, request: Request) -> list[Event | RejectedRecord]:
    """Return the events of a delivery. Raises BadRequestError if the body is not a JSON object or list."""
    raws = _split_list(request.body) if request.body.lstrip()[:1] == b"[" else [request.body]
    delivery = request.headers.get(scheme.id, "") if scheme.id else ""
    named = {"topic": scheme.topic, "triggered": scheme.triggered}
    own = {name: request.headers.get(header) if header else None for name, header in named.items()} | {"happened_at": request.at}
    events: list[Event | RejectedRecord] = []
    for number, raw in enumerate(raws):
        try:
            body = parse_object(raw)
        except RecordError as error:
            if raw is request.body:
                raise BadRequestError("the body must be JSON") from None
            events.append(reject(raw, error))
            continue
        name = (f"{delivery}/{number}" if number else delivery) if delivery else hash_bytes(raw)
        events.append(Event(name, {"id": name, "body": body, **own}, raw))
    return events


def _split_list(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body must be JSON") from None
