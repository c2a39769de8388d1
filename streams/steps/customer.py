"""The state row of one customer: its newest touchpoints in order of event time, and what signals made of all of them.

Signals fold touchpoints in event-time order, always. A touchpoint that arrives late is put where it belongs and the
signals are folded again from there on, so the order of arrival leaves no trace (`Customer.add`).
Bound: the newest `KEPT` touchpoints are kept; what is older is folded into a base for good. A touchpoint older than the
base is late beyond the bound: it is stored for analysts, counted, and not folded; neither is an old duplicate.
"""

from typing import Any

import msgspec

from schemas.codec import Fields

VERSION = 1
KEPT = 1_000
SLACK = 250


class Touchpoint(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What signals may look at. `at` is milliseconds since 1970; `amount` ten-thousandths; ids are UUID bytes."""

    at: int
    id: bytes
    source: str
    type: str
    channel: str
    stage: str = ""
    metric: str | None = None
    answer: float | None = None
    scale_low: int | None = None
    scale_high: int | None = None
    rating: float | None = None
    amount: int | None = None
    currency: str | None = None
    product: str | None = None
    order_id: str | None = None
    ticket_id: str | None = None
    delay_days: float | None = None
    wait_seconds: float | None = None

    def place(self) -> tuple[int, bytes]:
        """Its place in the order of event time; the id decides between touchpoints of one millisecond."""
        return self.at, self.id


SAME_NAME = tuple(name for name in Touchpoint.__struct_fields__ if name not in ("at", "id"))


def touchpoint(fields: Fields) -> Touchpoint:
    """The signals' view of a `resolved` record."""
    return Touchpoint(fields["occurred_at"], fields["event_id"], *(fields[name] for name in SAME_NAME))


class Customer(msgspec.Struct, array_like=True):
    """One customer. `states` holds each signal's state after all touchpoints, `base` after those no longer kept.

    `moved_to` is set once the customer was merged into another: then nothing else is kept.
    """

    version: int = VERSION
    moved_to: bytes | None = None
    folded: int = 0
    base_place: tuple[int, bytes] | None = None
    touchpoints: list[Touchpoint] = []
    base: dict[str, msgspec.Raw] = {}
    states: dict[str, msgspec.Raw] = {}


encode_customer = msgspec.msgpack.Encoder().encode
encode_touchpoints = encode_customer
decode_touchpoints = msgspec.msgpack.Decoder(list[Touchpoint]).decode
_decode = msgspec.msgpack.Decoder(Customer).decode


def decode_customer(value: bytes | None) -> Customer:
    """The row from its stored bytes, or a new one."""
    return Customer() if value is None else _decode(value)


def to_raw(state: Any) -> msgspec.Raw:
    """A signal's state as the row keeps it."""
    return msgspec.Raw(encode_customer(state))
