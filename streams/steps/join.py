"""join: fold each customer's touchpoints into journeys and signals, and publish the records that change.

The final rows (highest version of each id) do not depend on the order of arrival: signals fold in event-time order, ids
derive from event ids, and a journey that a late touchpoint invalidates is retracted.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import CUSTOMER_STATE, RESOLVED, TICKS, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.signals.contract import Signal
from streams.steps.customer import CUSTOMER_ID_BYTES, Block, Customer, decode_block, decode_customer, encode_row
from streams.steps.fold import StateCodec, encode_reading, fold
from streams.steps.history import BLOCK_SIZE, DEFAULT_MAX_BLOCKS, History
from streams.touchpoint import Touchpoint, decode_touchpoint, decode_touchpoints, encode_touchpoints

MAX_MOVED_PER_RECORD = 200


class Join:
    """Step from `touchline.resolved` and `touchline.ticks` to journeys and readings."""

    name = "join"
    topics = (RESOLVED, TICKS)
    table = "customers"
    changelog = CUSTOMER_STATE
    row_group_prefix_bytes = CUSTOMER_ID_BYTES
    max_row_bytes = 1024 * 1024

    def __init__(self, signals: Sequence[Signal], kept_touchpoints: int = BLOCK_SIZE * DEFAULT_MAX_BLOCKS) -> None:
        """Keep at least `kept_touchpoints` per customer. This is the bound of lateness and of exact deduplication."""
        self._max_blocks = -(-kept_touchpoints // BLOCK_SIZE)
        self._signals = signals
        self._codec = StateCodec(signals)

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        arrived: defaultdict[bytes, list[Touchpoint]] = defaultdict(list)
        outputs: list[Output] = []
        for record in records:
            if record.name == "resolved":
                arrived[record.fields["customer_id"]].append(decode_touchpoint(record.fields["seen"]))
            elif record.name == "moved":
                arrived[record.fields["customer_id"]].extend(decode_touchpoints(record.fields["touchpoints"]))
            elif record.name == "merge":
                outputs += self._fold_arrived(arrived, rows)
                outputs += self._merge(rows, record.fields["from_customer"], record.fields["to_customer"])
            elif record.name == "tick":
                outputs += self._fold_arrived(arrived, rows)
                outputs += self._tick(rows, record.fields)
            else:
                refuse(record, unexpected_schema(record, self.name))
        return outputs + self._fold_arrived(arrived, rows)

    def _fold_arrived(self, arrived: defaultdict[bytes, list[Touchpoint]], rows: Rows) -> list[Output]:
        outputs: list[Output] = []
        rows.fetch(arrived)
        for customer_id, touchpoints in arrived.items():
            customer: Customer = rows.get(customer_id, decode_customer)
            if customer.moved_to is not None:
                outputs += move_touchpoints(customer_id, customer.moved_to, touchpoints)
                continue
            load = _BlockLoader(rows, customer_id)
            result = fold(self._signals, self._codec, customer_id, customer, touchpoints, load, self._max_blocks)
            if result is not None:
                outputs += result.outputs
                rows.put(customer_id, customer, encode_row)
                for slot, block in result.blocks.items():
                    _put_block(rows, block_key(customer_id, slot), block)
        arrived.clear()
        return outputs

    def _merge(self, rows: Rows, customer_id: bytes, to: bytes) -> list[Output]:
        """Move all kept touchpoints of `customer_id` to the customer that it was merged into. Later ones are forwarded."""
        customer: Customer = rows.get(customer_id, decode_customer)
        history = History(customer, _BlockLoader(rows, customer_id))
        kept = history.load_touchpoints()
        rows.put(customer_id, Customer(moved_to=to), encode_row)
        for slot in history.used_slots():
            rows.drop(block_key(customer_id, slot))
        return move_touchpoints(customer_id, to, kept)

    def _tick(self, rows: Rows, tick: Fields) -> Iterator[Output]:
        for key, value in rows.scan():
            if len(key) == CUSTOMER_ID_BYTES:
                yield from self._read_silence(key, decode_customer(value), tick)

    def _read_silence(self, customer_id: bytes, customer: Customer, tick: Fields) -> Iterator[Output]:
        for signal in self._signals:
            state = self._codec.unpack_state(customer.states, signal.definition)
            reading = None if state is None else signal.read(state, tick["at"], None, tick["since"])
            if reading is not None:
                key = f"at/{tick['at']}"
                value = encode_reading(signal, customer_id, key, tick["at"], None, customer.folded, reading)
                yield Output(signal.topic, customer_partition(customer_id), customer_id, value)


class _BlockLoader:
    """Loader of the block in a slot of one customer."""

    def __init__(self, rows: Rows, customer_id: bytes) -> None:
        self._rows = rows
        self._customer_id = customer_id

    def __call__(self, slot: int) -> Block:
        block: Block = self._rows.get(block_key(self._customer_id, slot), decode_block)
        return block


def block_key(customer_id: bytes, slot: int) -> bytes:
    """Return the row key of the block in a slot. A new block replaces the one that is no longer kept."""
    return customer_id + bytes((slot,))


def _put_block(rows: Rows, key: bytes, block: Block | None) -> None:
    if block is None:
        rows.drop(key)
    else:
        rows.put(key, block, encode_row)


def move_touchpoints(from_customer: bytes, to: bytes, touchpoints: Sequence[Touchpoint]) -> list[Output]:
    """Return the records that move touchpoints to the customer which `from_customer` was merged into."""
    outputs = []
    for start in range(0, len(touchpoints), MAX_MOVED_PER_RECORD):
        packed = encode_touchpoints(touchpoints[start : start + MAX_MOVED_PER_RECORD])
        fields = {"customer_id": to, "from_customer": from_customer, "touchpoints": packed}
        outputs.append(Output(RESOLVED, customer_partition(to), to, encode("moved", fields)))
    return outputs
