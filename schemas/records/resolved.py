"""Records on the topics between the steps: touchpoints of known customers, identity changes and ticks."""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Id, Instant, Name, Word


class Resolved(BaseModel):
    """One touchpoint of a known customer. Topic `touchline.resolved`, key: customer id bytes.

    `customer_id` is the customer at the time of resolution (`customer_id_then` in the view). `stage` is the journey stage of
    the touchpoint's type, empty if the journey definition has none. `touchpoint` holds the record as its connector
    published it, in the wire format, so that no step encodes it again. `seen` holds the fields that signals read, in the
    codec of the state (`streams/touchpoint.py`). `identifiers` holds the ids of the touchpoint's identifiers by rank, the
    strongest first.
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    stage: str
    seen: bytes
    touchpoint: bytes
    identifiers: list[Id] | None = None


class Edge(BaseModel):
    """Assignment of an identifier to a customer. Topic `touchline.identity`, key: `i` + kind + 0x1f + value."""

    model_config = ConfigDict(frozen=True)

    kind: Name
    value: Word
    customer_id: Id
    rule: str
    event_id: Id
    at: Instant


class Merge(BaseModel):
    """Merge of two customers that are the same person.

    Topics `touchline.identity` (key: `c` + from id) and `touchline.resolved` (key: from id).
    """

    model_config = ConfigDict(frozen=True)

    from_customer: Id
    to_customer: Id
    rule: str
    event_id: Id
    at: Instant


class Moved(BaseModel):
    """Touchpoints that now belong to another customer. Topic `touchline.resolved`, key: new customer id.

    `touchpoints` is in the codec of the state (`streams/touchpoint.py`). `lost` names touchpoints that also belong to the new
    customer, but that no row keeps: the `nodes` of each, without repetition. The new customer then needs a rebuild.
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    from_customer: Id
    touchpoints: bytes
    lost: list[bytes] | None = None


class History(BaseModel):
    """Part of the whole history of a customer, which replaces the customer's row. Topic `touchline.resolved`, key: customer id.

    Parts follow each other in event-time order. The first one empties the row; with `keep_existing`, the touchpoints of the row
    stay in the history. `touchpoints` is in the codec of the state (`streams/touchpoint.py`). `part` counts the parts from 0, so
    that a missing one is noticed; older versions have no number.
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    is_first: bool
    is_last: bool
    keep_existing: bool
    touchpoints: bytes
    part: int | None = None


class CustomerRevision(BaseModel):
    """Revision of a customer's rows. Topic `touchline.customers`, key: customer id bytes.

    Rows whose version is below `revision` * 2**40 were replaced. With `is_complete` false, the customer has touchpoints that its
    journeys and signals do not include, and needs a rebuild. `touchpoints` is the number of folded touchpoints. `at` is the Kafka
    time of the record that caused the change. The last record of a customer in the topic counts.
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    revision: int
    is_complete: bool
    touchpoints: int
    at: Instant


class Tick(BaseModel):
    """Request to read every signal of one partition as of `at`. Topic `touchline.ticks`, one record for each partition.

    `since` is the time of the previous tick, null for the first.
    """

    model_config = ConfigDict(frozen=True)

    at: Instant
    since: Instant | None
