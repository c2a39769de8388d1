"""Records of the topics between the steps: a touchpoint whose customer is known, and what happens to customers themselves."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.fields import Id, Instant, Name, Word


class Resolved(BaseModel):
    """One touchpoint of a known customer, its family's fields laid flat. Topic `touchline.resolved`, key: customer id bytes.

    `customer_id` is the customer as known when the touchpoint passed (the view's `customer_id_then`); `stage` is the
    journey stage of its type, empty where the journey definition names none.
    """

    model_config = ConfigDict(frozen=True)

    event_id: Id
    customer_id: Id
    source: Name
    system: Name
    connector: Name
    type: str
    channel: str
    stage: str
    occurred_at: Instant
    received_at: Instant
    text: str | None = None
    metric: Literal["nps", "csat", "ces"] | None = None
    answer: float | None = None
    scale_low: int | None = None
    scale_high: int | None = None
    survey_id: str | None = None
    question_id: str | None = None
    rating: float | None = None
    amount: int | None = None
    currency: str | None = None
    product: str | None = None
    quantity: float | None = None
    order_id: str | None = None
    ticket_id: str | None = None
    delay_days: float | None = None
    wait_seconds: float | None = None
    attributes: dict[str, str]


class Edge(BaseModel):
    """An identifier belongs to a customer. Topic `touchline.identity`, key: `i` + kind + 0x1f + value."""

    model_config = ConfigDict(frozen=True)

    kind: Name
    value: Word
    customer_id: Id
    rule: str
    event_id: Id
    at: Instant


class Merge(BaseModel):
    """Two customers turned out to be one.

    Topics `touchline.identity` (key: `c` + from id) and `touchline.resolved` (key: from id).
    """

    model_config = ConfigDict(frozen=True)

    from_customer: Id
    to_customer: Id
    rule: str
    event_id: Id
    at: Instant


class Moved(BaseModel):
    """Touchpoints that a merged customer hands to the one it is now part of. Topic `touchline.resolved`, key: new customer id.

    `touchpoints` is the state codec's own encoding (`streams/steps/customer.py`).
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    from_customer: Id
    touchpoints: bytes


class Tick(BaseModel):
    """Time passed: read every signal of this partition as of `at`. Topic `touchline.ticks`, one record per partition.

    `since` is the time of the tick before it, null for the first.
    """

    model_config = ConfigDict(frozen=True)

    at: Instant
    since: Instant | None
