"""join: fold each customer's touchpoints into journeys and signals, and say what changed.

Whatever the order of arrival, the rows that remain (highest version of each id) are the same: signals always fold in
event-time order, ids come from event ids, and a journey that a late touchpoint makes void is taken back.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import CUSTOMER_STATE, RESOLVED, TICKS, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected
from streams.signals.contract import Signal
from streams.steps.customer import (
    ID_BYTES,
    Block,
    Customer,
    Touchpoint,
    decode_block,
    decode_customer,
    decode_moved,
    decode_seen,
    encode_row,
    pack_moved,
)
from streams.steps.fold import Codec, fold, reading
from streams.steps.history import BLOCK, BLOCKS, History

MOVED_AT_ONCE = 200


class Join:
    """`touchline.resolved` and `touchline.ticks` in; journeys and readings out."""

    name = "join"
    topics = (RESOLVED, TICKS)
    table = "customers"
    changelog = CUSTOMER_STATE
    row_group_prefix_bytes = ID_BYTES

    def __init__(self, signals: Sequence[Signal], kept_touchpoints: int = BLOCK * BLOCKS) -> None:
        """`kept_touchpoints` of a customer at least are kept: the bound of lateness and of exact skipping."""
        self._most_blocks = -(-kept_touchpoints // BLOCK)
        self._signals = signals
        self._codec = Codec(signals)

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        arrived: defaultdict[bytes, list[Touchpoint]] = defaultdict(list)
        outputs: list[Output] = []
        for record in records:
            if record.name == "resolved":
                arrived[record.fields["customer_id"]].append(decode_seen(record.fields["seen"]))
            elif record.name == "moved":
                arrived[record.fields["customer_id"]].extend(decode_moved(record.fields["touchpoints"]))
            elif record.name == "merge":
                outputs += self._settle(arrived, rows)
                outputs += self._move(rows, record.fields["from_customer"], record.fields["to_customer"])
            elif record.name == "tick":
                outputs += self._settle(arrived, rows)
                outputs += self._tick(rows, record.fields)
            else:
                refuse(record, unexpected(record, self.name))
        return outputs + self._settle(arrived, rows)

    def _settle(self, arrived: defaultdict[bytes, list[Touchpoint]], rows: Rows) -> list[Output]:
        outputs: list[Output] = []
        rows.fetch(arrived)
        for customer_id, touchpoints in arrived.items():
            customer: Customer = rows.get(customer_id, decode_customer)
            if customer.moved_to is not None:
                outputs += moved(customer_id, customer.moved_to, touchpoints)
                continue
            load = _Blocks(rows, customer_id)
            folded = fold(self._signals, self._codec, customer_id, customer, touchpoints, load, self._most_blocks)
            if folded is not None:
                outputs += folded.outputs
                rows.put(customer_id, customer, encode_row)
                for slot, block in folded.blocks.items():
                    _store(rows, block_key(customer_id, slot), block)
        arrived.clear()
        return outputs

    def _move(self, rows: Rows, customer_id: bytes, to: bytes) -> list[Output]:
        """Hand everything to the customer this one is now part of; whatever comes later follows."""
        customer: Customer = rows.get(customer_id, decode_customer)
        history = History(customer, _Blocks(rows, customer_id))
        kept = history.touchpoints()
        rows.put(customer_id, Customer(moved_to=to), encode_row)
        for slot in history.slots():
            rows.drop(block_key(customer_id, slot))
        return moved(customer_id, to, kept)

    def _tick(self, rows: Rows, tick: Fields) -> Iterator[Output]:
        for key, value in rows.scan():
            if len(key) == ID_BYTES:
                yield from self._silence(key, decode_customer(value), tick)

    def _silence(self, customer_id: bytes, customer: Customer, tick: Fields) -> Iterator[Output]:
        for signal in self._signals:
            state = self._codec.state(customer.states, signal.definition)
            found = None if state is None else signal.read(state, tick["at"], None, tick["since"])
            if found is not None:
                value = reading(signal, customer_id, f"at/{tick['at']}", tick["at"], None, customer.folded, found)
                yield Output(signal.topic, customer_partition(customer_id), customer_id, value)


class _Blocks:
    """Loads the block in a slot of one customer."""

    def __init__(self, rows: Rows, customer_id: bytes) -> None:
        self._rows = rows
        self._customer_id = customer_id

    def __call__(self, slot: int) -> Block:
        block: Block = self._rows.get(block_key(self._customer_id, slot), decode_block)
        return block


def block_key(customer_id: bytes, slot: int) -> bytes:
    """The row of the block in a slot; a new block takes the place of the one that is no longer kept."""
    return customer_id + bytes((slot,))


def _store(rows: Rows, key: bytes, block: Block | None) -> None:
    if block is None:
        rows.drop(key)
    else:
        rows.put(key, block, encode_row)


def moved(from_customer: bytes, to: bytes, touchpoints: Sequence[Touchpoint]) -> list[Output]:
    """Touchpoints on their way to the customer that `from_customer` is now part of."""
    outputs = []
    for start in range(0, len(touchpoints), MOVED_AT_ONCE):
        packed = pack_moved(touchpoints[start : start + MOVED_AT_ONCE])
        fields = {"customer_id": to, "from_customer": from_customer, "touchpoints": packed}
        outputs.append(Output(RESOLVED, customer_partition(to), to, encode("moved", fields)))
    return outputs
