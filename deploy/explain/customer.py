"""What is known of one customer, as plain values: from ClickHouse, to the screen or to a program. Pure."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from schemas.errors import ConfigError
from schemas.records.identifiers import GLOBAL_KINDS, normalise


class Touch(NamedTuple):
    """One touchpoint: `answer` on the scale of a survey's `metric`, `amount` in units of `currency`.

    `score` is the satisfaction after it, 0 to 100, and `change` what it brought; both are None where it said nothing.
    """

    event_id: UUID
    occurred_at: datetime
    customer_id_then: UUID
    source: str
    system: str
    type: str
    channel: str
    stage: str
    text: str | None
    product: str | None
    amount: float | None
    currency: str | None
    metric: str | None
    answer: float | None
    delay_days: float | None
    score: float | None
    change: float | None


class Journey(NamedTuple):
    """A journey as it stands now; where it `went_on` after the time asked for, nothing but its start is of then."""

    journey_id: UUID
    definition: str
    status: str
    outcome: str
    stage: str
    started_at: datetime
    last_at: datetime
    touchpoints: int
    friction: int
    channels: list[str]
    stages: list[str]
    went_on: bool


class Driver(NamedTuple):
    """A touchpoint behind a reading: `contribution` is signed, in the unit of the reading."""

    event_id: UUID
    contribution: float
    text: str


class Reading(NamedTuple):
    """One signal at its latest: satisfaction 0 to 100, churn a probability, others in their own unit."""

    signal: str
    at: datetime
    value: float | None
    low: float | None
    high: float | None
    evidence: int
    definition: str
    event_id: UUID | None
    drivers: list[Driver]


class Edge(NamedTuple):
    """An identifier, and the customer that it was first given to by a touchpoint."""

    kind: str
    value: str
    customer_id: UUID
    rule: str
    event_id: UUID
    at: datetime


class Merge(NamedTuple):
    """A former customer and the one it is part of now, found by a touchpoint."""

    from_customer: UUID
    to_customer: UUID
    rule: str
    event_id: UUID
    at: datetime


class Identity(NamedTuple):
    """Who a customer is: oldest edge and merge first."""

    customer_id: UUID
    edges: list[Edge]
    merges: list[Merge]


class Story(NamedTuple):
    """All that is known of a customer by `at` (None: now); the timeline holds the newest of `touchpoints`, oldest first."""

    identity: Identity
    at: datetime | None
    touchpoints: int
    timeline: list[Touch]
    journeys: list[Journey]
    readings: list[Reading]


class Asked(NamedTuple):
    """A customer id, or an identifier in its one spelling; a kind of None is any kind but those with a spelling of their own."""

    customer_id: UUID | None
    kind: str | None
    value: str


def asked(text: str) -> Asked:
    """What a person means by a UUID, `kind:value`, or a bare address, number or other. Raises ConfigError for neither."""
    try:
        return Asked(UUID(text), None, "")
    except ValueError:
        pass
    before, found, after = text.partition(":")
    kind, value = (before, after) if found else (_kind(text), text)
    spelled = normalise(kind or "", value)
    if spelled is None:
        raise ConfigError(
            "that is no identifier: say a customer id, kind:value like email:ann@example.com, or a bare mail address"
        )
    return Asked(None, kind, spelled)


def plain(value: Any) -> Any:
    """The same in what JSON knows: named tuples as objects, ids and times as text."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _kind(text: str) -> str | None:
    return next((kind for kind in sorted(GLOBAL_KINDS - {"loyalty"}) if normalise(kind, text) and _looks(kind, text)), None)


def _looks(kind: str, text: str) -> bool:
    """An identifier such as `A-1234567` normalises to a number, too, but no one writes numbers so."""
    return kind == "email" or not text.strip("+0123456789 ()/-.")
