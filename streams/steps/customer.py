"""The state row of one customer: its newest touchpoints in order of event time, and what signals made of all of them.

Signals fold touchpoints in event-time order, always. A touchpoint that arrives late is put where it belongs and the
signals are folded again from there on, so the order of arrival leaves no trace (`streams/steps/history.py`).

| key                          | value                                                                        |
|------------------------------|------------------------------------------------------------------------------|
| customer id (16 bytes)       | `Customer`: every signal's state, and the tail: the newest touchpoints       |
| customer id + slot (17 bytes)| `Block`: 32 older touchpoints, and every signal's state before them          |

What is written for a touchpoint is therefore bounded, however long its customer's history is. Values begin with the
version of their layout.
"""

from collections.abc import Iterable

import msgspec

from schemas.errors import FatalError
from schemas.wire.codec import Fields

LAYOUT = b"\x01"
ID_BYTES = 16
Place = tuple[int, bytes]
States = dict[str, msgspec.Raw]


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

    def place(self) -> Place:
        """Its place in the order of event time; the id decides between touchpoints of one millisecond."""
        return self.at, self.id


class Customer(msgspec.Struct, array_like=True):
    """One customer. `states` holds each signal's state after all touchpoints, packed, by the signal's definition.

    `folded` counts them; `newest` is the place of the last one. `tail` is packed touchpoints; `base` holds the states
    before the tail. `blocks` says of each block that is kept, oldest first, where it ends and, in two bytes each, which ids
    it may hold. `forgotten` is the place of the newest touchpoint that is no longer kept. `moved_to` is set once the
    customer was merged into another: then nothing else is kept.
    """

    moved_to: bytes | None = None
    folded: int = 0
    newest: Place | None = None
    forgotten: Place | None = None
    blocks: list[tuple[Place, bytes]] = []
    tail: bytes = b""
    base: States = {}
    states: States = {}


class Block(msgspec.Struct, array_like=True):
    """Touchpoints older than the tail, packed, and the states before them."""

    base: States
    touchpoints: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_customer = msgspec.msgpack.Decoder(Customer).decode
_decode_block = msgspec.msgpack.Decoder(Block).decode
decode_moved = msgspec.msgpack.Decoder(list[Touchpoint]).decode
pack_moved = _encode
decode_seen = msgspec.msgpack.Decoder(Touchpoint).decode


def seen(fields: Fields, stage: str) -> bytes:
    """What signals look at of a source's record, packed; the fields of other families are None."""
    get = fields.get
    return _encode(
        Touchpoint(
            fields["occurred_at"],
            fields["event_id"],
            fields["source"],
            fields["type"],
            fields["channel"],
            stage,
            get("metric"),
            get("answer"),
            get("scale_low"),
            get("scale_high"),
            get("rating"),
            get("amount"),
            get("currency"),
            get("product"),
            get("order_id"),
            get("ticket_id"),
            get("delay_days"),
            get("wait_seconds"),
        )
    )


def pack(touchpoints: Iterable[Touchpoint]) -> bytes:
    """Touchpoints one behind the other, so that packed ones can be joined without being unpacked."""
    return b"".join(map(_encode, touchpoints))


def unpack(packed: bytes, count: int) -> list[Touchpoint]:
    """The other way round; `count` is how many they are."""
    return decode_moved(b"\xdd" + count.to_bytes(4, "big") + packed)


def encode_row(row: Customer | Block) -> bytes:
    """A row as it is stored."""
    return LAYOUT + _encode(row)


def decode_customer(value: bytes | None) -> Customer:
    """The row from its stored bytes, or a new one."""
    return Customer() if value is None else _decode_customer(_body(value))


def decode_block(value: bytes | None) -> Block:
    """A block that the customer's row names. Raises FatalError where it is missing."""
    if value is None:
        raise FatalError(
            "the state of join lacks a block that a row names: start the worker with another --name, which reads it anew"
        )
    return _decode_block(_body(value))


def _body(value: bytes) -> bytes:
    """What follows the layout's version. Raises FatalError for a version that this software does not know.

    A field added at the end with a default needs no new version: older rows are read with the default. Any other change gets
    the next number, and here a function that makes the new form of the old one.
    """
    if value[:1] != LAYOUT:
        raise FatalError(f"a row of join has layout {value[0]}, this software knows {LAYOUT[0]}: update every worker")
    return value[1:]
