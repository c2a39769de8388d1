"""Touchpoint: one interaction of a customer with the company, as connectors publish it.

All touchpoints share this envelope. Each event family (`schemas/records/families/<source>.py`) adds fields and has its own topic.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from schemas.records.fields import EventType, Id, Instant, Name, Text, Word
from schemas.records.identifiers import Identifier
from schemas.records.normalisation.refusal import RefusedIdentifier

NAMESPACE = uuid5(NAMESPACE_URL, "https://touchline.dev/touchpoint")
MIN_OCCURRED_AT = datetime(1970, 1, 2, tzinfo=UTC)
MAX_CLOCK_SKEW = timedelta(days=1)


class Channel(StrEnum):
    """Place of the interaction."""

    WEB = "web"
    APP = "app"
    EMAIL = "email"
    PHONE = "phone"
    CHAT = "chat"
    SMS = "sms"
    POST = "post"
    STORE = "store"
    FIELD = "field"
    SOCIAL = "social"
    SYSTEM = "system"


def event_id(system: str, record: str, version: str) -> UUID:
    """Return the UUIDv5 of a version of a source record, so that reading it again yields the same event."""
    return uuid5(NAMESPACE, "\x1f".join((system, record, version)))


class Touchpoint(BaseModel):
    """Envelope of all touchpoints. `occurred_at` is the time of the source, `received_at` the time of reading it.

    `traits` describe the person and are no identifiers (`given_name`, `surname`, `birth_date`, `postcode`, ...), as the source
    spells them. `verified` is False where anyone can send any identifier, as in web events without a key. None means True.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: Id
    source: str
    system: Name
    connector: Name
    type: EventType
    channel: Channel
    occurred_at: Instant
    received_at: Instant
    identifiers: Annotated[list[Identifier], Field(min_length=1, max_length=20)]
    text: Text | None = None
    attributes: Annotated[
        dict[Word, Annotated[str, StringConstraints(max_length=4_096)]], Field(default_factory=dict, max_length=100)
    ]
    traits: Annotated[dict[Name, Word], Field(max_length=20)] | None = None
    verified: bool | None = None
    _refused: tuple[RefusedIdentifier, ...] = PrivateAttr(())

    @property
    def refused(self) -> tuple[RefusedIdentifier, ...]:
        """Values of the record that became no identifier. Connectors count them; they do not travel."""
        return self._refused

    def set_refused(self, refused: Iterable[RefusedIdentifier]) -> Self:
        """Set the refused values of the record and return this touchpoint."""
        self._refused = tuple(refused)
        return self

    @model_validator(mode="after")
    def _plausible_time(self) -> Self:
        if not MIN_OCCURRED_AT <= self.occurred_at <= self.received_at + MAX_CLOCK_SKEW:
            raise ValueError("occurred_at is before 1970 or more than a day in the future")
        return self
