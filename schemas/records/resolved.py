"""Records of the topics between the steps: a touchpoint whose customer is known, and what happens to customers themselves."""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Id, Instant, Name, Word


class Resolved(BaseModel):
    """One touchpoint of a known customer. Topic `touchline.resolved`, key: customer id bytes.

    `customer_id` is the customer as known when the touchpoint passed (the view's `customer_id_then`); `stage` is the
    journey stage of its type, empty where the journey definition names none. `touchpoint` holds the record as its connector
    published it, in the wire format: nothing is lost, and nobody decodes and encodes it again on its way. `seen` is what
    signals look at of it, in the state's own codec (`streams/steps/customer.py`).
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    stage: str
    seen: bytes
    touchpoint: bytes


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
