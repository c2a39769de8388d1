"""Records of one customer as plain values. Pure."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class TimelineEntry(NamedTuple):
    """One touchpoint: `answer` on the scale of a survey's `metric`, `amount` in units of `currency`.

    `score` is the satisfaction after it, 0 to 100; `change` is its effect. Both are None for a touchpoint without effect.
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
    """A journey in its current state. With `has_later_touchpoints`, it continued after `--at`: only its start is as of then."""

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
    has_later_touchpoints: bool


class Driver(NamedTuple):
    """A touchpoint that moved a reading: `contribution` is signed, in the unit of the reading."""

    event_id: UUID
    contribution: float
    text: str


class Reading(NamedTuple):
    """The latest reading of one signal: satisfaction 0 to 100, churn a probability, others in their own unit."""

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
    """An identifier, the customer it was first assigned to, and the touchpoint that assigned it."""

    kind: str
    value: str
    customer_id: UUID
    rule: str
    event_id: UUID
    at: datetime


class Merge(NamedTuple):
    """A former customer, the customer it was merged into, and the touchpoint that caused the merge."""

    from_customer: UUID
    to_customer: UUID
    rule: str
    event_id: UUID
    at: datetime


class Identity(NamedTuple):
    """The identifiers and merges of a customer, oldest first."""

    customer_id: UUID
    edges: list[Edge]
    merges: list[Merge]


class CustomerHistory(NamedTuple):
    """All records of a customer up to `at` (None: now); the timeline holds the newest of `touchpoints`, oldest first."""

    identity: Identity
    at: datetime | None
    touchpoints: int
    timeline: list[TimelineEntry]
    journeys: list[Journey]
    readings: list[Reading]


def to_json(value: Any) -> Any:
    """Return the same value in JSON types: named tuples as objects, ids and times as text."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_json(each) for name, each in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
