"""Records of one customer as plain values. Pure."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from deploy.identity.records import Identity


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


class CustomerHistory(NamedTuple):
    """All records of a customer up to `at` (None: now); the timeline holds the newest of `touchpoints`, oldest first."""

    identity: Identity
    at: datetime | None
    touchpoints: int
    timeline: list[TimelineEntry]
    journeys: list[Journey]
    readings: list[Reading]
