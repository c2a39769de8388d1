"""Line of one customer during a chunk: its rows, and the records that a change of them publishes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from schemas.service import telemetry
from schemas.wire.codec import encode
from schemas.wire.topics import CUSTOMERS, RESOLVED, customer_partition
from streams.contract import Output, Rows
from streams.signals.contract import Signal
from streams.steps.customer import Block, Customer, decode_block, decode_customer, encode_row
from streams.steps.fold import StateCodec, fold
from streams.steps.history import History
from streams.steps.route import add_lost
from streams.touchpoint import Touchpoint, encode_touchpoints

MAX_MOVED_PER_RECORD = 200
LATE = telemetry.LATE.labels("join")


class Folding(NamedTuple):
    """Signals with the codec of their states, and the number of blocks to keep."""

    signals: Sequence[Signal]
    codec: StateCodec
    max_blocks: int


class Line:
    """Rows of one customer. Each method appends its records to `outputs` and puts the changed rows into `rows`."""

    __slots__ = ("_folding", "_outputs", "_revision", "_rows", "_was_complete", "at", "customer", "customer_id")

    def __init__(self, folding: Folding, rows: Rows, customer_id: bytes, outputs: list[Output], at: int) -> None:
        """`at` is the Kafka time of the change, in milliseconds since 1970."""
        self.at = at
        self.customer_id = customer_id
        customer: Customer = rows.get(customer_id, decode_customer)
        self.customer = customer
        self._folding = folding
        self._rows = rows
        self._outputs = outputs
        self._revision = customer.revision
        self._was_complete = not customer.lost and customer.replayed is None

    def load_block(self, slot: int) -> Block:
        """Return the block in a slot."""
        block: Block = self._rows.get(block_key(self.customer_id, slot), decode_block)
        return block

    def load_touchpoints(self) -> list[Touchpoint]:
        """Return all kept touchpoints in event-time order."""
        return History(self.customer, self.load_block).load_touchpoints()

    def fold(self, arrived: Sequence[Touchpoint], *, is_atomic: bool = False) -> list[Touchpoint]:
        """Fold the new ones of `arrived`. Return those that are late beyond the bound."""
        history = History(self.customer, self.load_block)
        new, late = history.select_new(arrived)
        if new:
            signals, codec, max_blocks = self._folding
            outputs, blocks = fold(signals, codec, self.customer_id, history, new, max_blocks, is_atomic=is_atomic)
            self._outputs += outputs
            self.put(blocks)
        return late

    def forget_surplus(self) -> None:
        """Forget the blocks above the bound, which a rebuild kept."""
        self.put(History(self.customer, self.load_block).forget_surplus(self._folding.max_blocks))

    def replace(self, customer: Customer) -> None:
        """Replace the row and delete its blocks."""
        for slot in History(self.customer, self.load_block).used_slots():
            self._rows.drop(block_key(self.customer_id, slot))
        self.customer = customer
        self.put()

    def put(self, blocks: Mapping[int, Block | None] = MappingProxyType({})) -> None:
        """Put the row and its changed blocks, by slot, into `rows`."""
        self._rows.put(self.customer_id, self.customer, encode_row)
        for slot, block in blocks.items():
            key = block_key(self.customer_id, slot)
            if block is None:
                self._rows.drop(key)
            else:
                self._rows.put(key, block, encode_row)

    def add_lost(self, nodes: Iterable[bytes]) -> None:
        """Note the nodes of touchpoints that belong to the customer but cannot be folded."""
        lost = add_lost(self.customer.lost, nodes)
        if lost != self.customer.lost:
            self.customer.lost = lost
            self.put()

    def forward(self, touchpoints: Iterable[Touchpoint]) -> list[Touchpoint]:
        """Move the touchpoints that belong to another customer. Return the others."""
        route = self.customer.route
        if route is None:
            return list(touchpoints)
        owned: defaultdict[bytes, list[Touchpoint]] = defaultdict(list)
        for each in touchpoints:
            owned[route.find_owner(each.nodes)].append(each)
        staying = owned.pop(self.customer_id, [])
        for owner, moved in sorted(owned.items()):
            for start in range(0, len(moved), MAX_MOVED_PER_RECORD):
                self._move(owner, moved[start : start + MAX_MOVED_PER_RECORD], None)
        return staying

    def forward_lost(self, lost: Iterable[bytes]) -> tuple[bytes, ...]:
        """Move the nodes of lost touchpoints that belong to another customer. Return the others."""
        route = self.customer.route
        if route is None:
            return tuple(lost)
        owned: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for nodes in lost:
            owned[route.find_owner(nodes)].append(nodes)
        staying = owned.pop(self.customer_id, [])
        for owner, moved in sorted(owned.items()):
            self._move(owner, [], moved)
        return tuple(staying)

    def _move(self, owner: bytes, touchpoints: Sequence[Touchpoint], lost: list[bytes] | None) -> None:
        packed = encode_touchpoints(touchpoints)
        fields = {"customer_id": owner, "from_customer": self.customer_id, "touchpoints": packed, "lost": lost}
        self._outputs.append(Output(RESOLVED, customer_partition(owner), owner, encode("moved", fields)))

    def announce(self, *, always: bool = False) -> None:
        """Publish the `customer` record if the revision has changed, or whether the row is complete."""
        customer = self.customer
        is_complete = customer.is_complete()
        if (customer.revision, is_complete) == (self._revision, self._was_complete) and not always:
            return
        if customer.lost and self._was_complete:
            telemetry.INCOMPLETE.inc()
        self._revision, self._was_complete = customer.revision, is_complete
        fields = {
            "customer_id": self.customer_id,
            "revision": customer.revision,
            "is_complete": is_complete,
            "touchpoints": customer.folded,
            "at": self.at,
        }
        value = encode("customer", fields)
        self._outputs.append(Output(CUSTOMERS, customer_partition(self.customer_id), self.customer_id, value))


def block_key(customer_id: bytes, slot: int) -> bytes:
    """Return the row key of the block in a slot. A new block replaces the one that is no longer kept."""
    return customer_id + bytes((slot,))
