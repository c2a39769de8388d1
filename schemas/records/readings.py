"""Results of the stream processing for one customer: readings of signals (satisfaction, churn, ...) and journeys.

Both are upserts: of the rows with one id, the one with the highest `version` is valid, and `deleted` retracts it.
"""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Id, Instant, Name


class Driver(BaseModel):
    """One touchpoint that explains a reading: its signed contribution in the unit of the reading, and a text."""

    model_config = ConfigDict(frozen=True)

    event_id: Id
    contribution: float
    text: str


class Reading(BaseModel):
    """One signal of one customer at one time. Topics `touchline.<signal>`, key: customer id bytes.

    `event_id` is the touchpoint that caused the reading, null if a tick did. `value`, `low` and `high` are in the unit of the
    signal. `evidence` is the number of touchpoints behind the value. `numbers` holds further results of the signal by name.
    """

    model_config = ConfigDict(frozen=True)

    reading_id: Id
    customer_id: Id
    signal: Name
    event_id: Id | None
    at: Instant
    version: int
    deleted: bool
    definition: str
    value: float | None
    low: float | None
    high: float | None
    evidence: int
    numbers: dict[str, float]
    drivers: list[Driver]


class Journey(BaseModel):
    """Current state of one journey of one customer. Topic `touchline.journeys`, key: customer id bytes.

    `status` is open or closed; `outcome` is empty while open. `friction` is the number of touchpoints that cost the customer
    effort. `moments_of_truth` holds the event ids of the touchpoints that the definition marks as decisive.
    """

    model_config = ConfigDict(frozen=True)

    journey_id: Id
    customer_id: Id
    version: int
    deleted: bool
    definition: str
    status: str
    outcome: str
    stage: str
    started_at: Instant
    last_at: Instant
    touchpoints: int
    channels: list[str]
    stages: list[str]
    friction: int
    moments_of_truth: list[Id]
