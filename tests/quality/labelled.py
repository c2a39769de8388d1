"""Touchpoints whose person is known."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas.records.identifiers import Identifier
from schemas.records.touchpoint import event_id

START = 1_700_000_000_000
RECEIVED_AT = 1_780_000_000_000
MINUTE = 60_000


class Labelled(NamedTuple):
    """A touchpoint and its person. Touchpoints of one `case` may be confused; `kind` names what makes them alike."""

    fields: dict[str, Any]
    person: str
    kind: str
    case: str

    @property
    def event_id(self) -> bytes:
        event: bytes = self.fields["event_id"]
        return event


def make_touchpoint(
    system: str,
    number: int,
    identifiers: Iterable[Identifier],
    traits: Mapping[str, str] | None = None,
    *,
    verified: bool | None = None,
) -> dict[str, Any]:
    """Return the fields of touchpoint `number` of a system, one minute after the one before."""
    return {
        "event_id": event_id(system, str(number), "1").bytes,
        "source": "crm",
        "system": system,
        "connector": "quality",
        "type": "inquiry.received",
        "channel": "web",
        "occurred_at": START + number * MINUTE,
        "received_at": RECEIVED_AT,
        "identifiers": [each.model_dump() for each in identifiers],
        "attributes": {},
        "traits": dict(traits) if traits else None,
        "verified": verified,
    }
