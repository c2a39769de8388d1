"""State rows of a customer: the newest touchpoints in event-time order, and the state of every signal after all of them.

Signals fold touchpoints in event-time order. A touchpoint that arrives late is inserted in its place, and the signals fold
again from there (`streams/steps/history.py`). The order of arrival therefore leaves no trace in the rows.

| key                          | value                                                                        |
|------------------------------|------------------------------------------------------------------------------|
| customer id (16 bytes)       | `Customer`: the state of every signal, and the tail: the newest touchpoints  |
| customer id + slot (17 bytes)| `Block`: 32 older touchpoints, and the state of every signal before them     |

A touchpoint therefore writes a bounded number of bytes, however long the history of its customer is. Each value begins with
the version of its layout.
"""

import msgspec
from msgspec import MsgspecError

from schemas.errors import RecordError
from streams.contract import StateError
from streams.steps.route import Route
from streams.touchpoint import OrderKey

LAYOUT = b"\x01"
MAX_LAYOUT = b"\x1f"
CUSTOMER_ID_BYTES = 16
REVISION_SHIFT = 40
UNREADABLE = (MsgspecError, RecordError)  # errors of a state row whose bytes are no row
States = dict[str, msgspec.Raw]


class Customer(msgspec.Struct, array_like=True):
    """Main row of one customer.

    - `moved_to`: set in rows of older versions only, which merged this customer into another one. It becomes a route.
    - `folded`: number of folded touchpoints. `newest`: order key of the last one.
    - `forgotten`: order key of the newest folded touchpoint that is no longer kept.
    - `blocks`: for each kept block, oldest first, the order key of its last touchpoint and the first two bytes of each id.
    - `tail`: packed touchpoints after the last block. `base`: the states before the tail.
    - `states`: the packed state of each signal after all touchpoints, by the signal's definition.
    - `route`: the owners of the touchpoints that arrive here, None when all stay.
    - `revision`: number of times that the row was emptied. Published rows of an earlier revision are no longer valid.
    - `lost`: the nodes of the touchpoints that belong to the customer but are not folded. The customer then needs a rebuild.
    - `forgotten_nodes`: the nodes of the folded touchpoints that are no longer kept.
    - `replaced_at`: Kafka time of the record that last emptied the row or continued its rebuild, in milliseconds.
    - `expected`: order key of the newest forgotten touchpoint before a rebuild. The rebuild must include it.
    - `replayed`: order key of the newest touchpoint of the `history` records, from the first of them to the last.
    - `next_part`: number of the `history` record that comes next, 0 outside of a rebuild.
    """

    moved_to: bytes | None = None
    folded: int = 0
    newest: OrderKey | None = None
    forgotten: OrderKey | None = None
    blocks: list[tuple[OrderKey, bytes]] = []
    tail: bytes = b""
    base: States = {}
    states: States = {}
    route: Route | None = None
    revision: int = 0
    lost: tuple[bytes, ...] = ()
    forgotten_nodes: tuple[bytes, ...] = ()
    replayed: OrderKey | None = None
    replaced_at: int = 0
    expected: OrderKey | None = None
    next_part: int = 0

    def version(self) -> int:
        """Return the version of published rows: it rises with each touchpoint, and above all earlier ones with each revision."""
        return self.revision << REVISION_SHIFT | self.folded

    def is_complete(self) -> bool:
        """Return whether all known touchpoints of the customer are folded."""
        return not self.lost and self.replayed is None


class Block(msgspec.Struct, array_like=True):
    """Packed touchpoints older than the tail, and the states before them."""

    base: States
    touchpoints: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_customer = msgspec.msgpack.Decoder(Customer).decode
_decode_block = msgspec.msgpack.Decoder(Block).decode


def encode_row(row: Customer | Block) -> bytes:
    """Return a row as the store keeps it."""
    return LAYOUT + _encode(row)


def decode_customer(value: bytes | None) -> Customer:
    """Return the row from its stored bytes, or an empty one."""
    if value is None:
        return Customer()
    row = _decode_customer(_strip_layout(value))
    if row.moved_to is not None:
        row.route, row.moved_to = Route(row.moved_to), None
    if row.forgotten is not None and not row.forgotten_nodes:  # a row of an older version
        row.forgotten_nodes = (b"",)
    return row


def decode_block(value: bytes | None) -> Block:
    """Return a block that the customer's row names. Raises RecordError when the store does not have it."""
    if value is None:
        raise RecordError(
            "unreadable_state", "the state of join lacks a block that a row names: rebuild the customer, then replay the record"
        )
    return _decode_block(_strip_layout(value))


def _strip_layout(value: bytes) -> bytes:
    """Return the row without its layout version.

    Raises StateError for a later version, which an update can read, and RecordError for bytes that are no row of join.

    A field added at the end with a default needs no new version, because older rows get the default. Any other change needs
    the next number, and a function here that converts the old form.
    """
    if value[:1] == LAYOUT:
        return value[1:]
    if LAYOUT < value[:1] <= MAX_LAYOUT:
        raise StateError(f"a row of join has layout {value[0]}, this software knows {LAYOUT[0]}: update every worker")
    raise RecordError("unreadable_state", "the state of join has bytes that are no row: rebuild the customer, then replay it")
