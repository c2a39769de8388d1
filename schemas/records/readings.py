"""What signals say about a customer: readings (satisfaction, churn, ...) and journeys.

Both are upserts: the row with the highest `version` of an id is the true one, and `deleted` takes it back.
"""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Id, Instant, Name


class Driver(BaseModel):
    """Why a reading is what it is: one touchpoint, its signed contribution in the reading's own unit, and words for it."""

    model_config = ConfigDict(frozen=True)

    event_id: Id
    contribution: float
    text: str


class Reading(BaseModel):
    """One signal of one customer at one time. Topics `touchline.<signal>`, key: customer id bytes.

    `event_id` is the touchpoint that brought the reading, null where a tick did. `value`, `low` and `high` are in the
    signal's unit; `evidence` counts the touchpoints behind it; `numbers` holds whatever else the signal states, by name.
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
    """One journey of one customer as it stands. Topic `touchline.journeys`, key: customer id bytes.

    `status` is open or closed; `outcome` is empty while open. `friction` counts touchpoints that cost the customer
    effort; `moments_of_truth` are the event ids that the definition calls decisive.
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
