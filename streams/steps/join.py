"""join: fold each customer's touchpoints into journeys and signals, and publish the records that change.

The final rows (highest version of each id) do not depend on the order of arrival: signals fold in event-time order, ids
derive from event ids, and a journey that a late touchpoint invalidates is retracted.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress

from schemas.wire.codec import Fields
from schemas.wire.topics import CUSTOMER_STATE, RESOLVED, TICKS, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.signals.contract import Signal
from streams.steps.customer import CUSTOMER_ID_BYTES, UNREADABLE, Customer, decode_customer
from streams.steps.fold import StateCodec, encode_reading
from streams.steps.history import BLOCK_SIZE, DEFAULT_MAX_BLOCKS
from streams.steps.line import LATE, Folding, Line
from streams.steps.replacement import change_route, drop_unreadable_row, repeat_route, replay_part
from streams.steps.route import read_route
from streams.touchpoint import Touchpoint, decode_touchpoint, decode_touchpoints


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
        self._signals = signals
        self._codec = StateCodec(signals)
        self._folding = Folding(signals, self._codec, -(-kept_touchpoints // BLOCK_SIZE))

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        chunk = _Chunk(self._folding, records, rows)
        for record in records:
            if record.name == "resolved":
                chunk.arrived[record.fields["customer_id"]].append(decode_touchpoint(record.fields["seen"]))
            elif record.name == "tick":
                chunk.outputs += self._tick(rows, record.fields)
            elif not chunk.apply(record):
                refuse(record, unexpected_schema(record, self.name))
        chunk.fold_arrived()
        return chunk.outputs

    def _tick(self, rows: Rows, tick: Fields) -> Iterator[Output]:
        """Yield the readings of all customers. A row that cannot be read is left to the touchpoints of its customer."""
        for key, value in rows.scan():
            if len(key) == CUSTOMER_ID_BYTES:
                with suppress(*UNREADABLE):
                    yield from self._read_silence(key, decode_customer(value), tick)

    def _read_silence(self, customer_id: bytes, customer: Customer, tick: Fields) -> Iterator[Output]:
        """Read each signal. A tick soon after a replacement reads as the first one, because earlier readings are hidden.

        The order of a tick and a replacement is not known. Replacements of the last two intervals therefore count.
        """
        since = tick["since"]
        if since is not None and customer.replaced_at >= 2 * since - tick["at"]:
            since = None
        for signal in self._signals:
            state = self._codec.unpack_state(customer.states, signal.definition)
            reading = None if state is None else signal.read(state, tick["at"], None, since)
            if reading is not None:
                key = f"at/{tick['at']}"
                value = encode_reading(signal, customer_id, key, tick["at"], None, customer.version(), reading)
                yield Output(signal.topic, customer_partition(customer_id), customer_id, value)


class _Chunk:
    """Records of `touchline.resolved` on their way into the rows. `arrived` holds the touchpoints that are not folded yet."""

    def __init__(self, folding: Folding, records: Sequence[Record], rows: Rows) -> None:
        self.arrived: defaultdict[bytes, list[Touchpoint]] = defaultdict(list)
        self.outputs: list[Output] = []
        self._folding = folding
        self._records = records
        self._rows = rows
        self._replaced: set[bytes] = set()

    def apply(self, record: Record) -> bool:
        """Apply a record other than `resolved`. Return false for an unknown one.

        A repeated route that the row already contains is not applied: later touchpoints would follow the older route.
        """
        name, fields = record.name, record.fields
        if name == "moved":
            self.arrived[fields["customer_id"]].extend(decode_touchpoints(fields["touchpoints"]))
            if fields["lost"]:
                line = self._line(record)
                line.add_lost(line.forward_lost(fields["lost"]))
                line.announce()
        elif name == "route" and record.offset <= self._rows.last_applied_offset(fields["customer_id"]):
            repeat_route(self._line_to_replace(record))
        elif name == "route":
            change_route(self._line_to_replace(record), read_route(fields))
        elif name == "history":
            if fields["is_first"]:
                drop_unreadable_row(self._rows, fields["customer_id"], record.timestamp)
            replay_part(self._line_to_replace(record), fields)
        else:
            return False
        return True

    def fold_arrived(self) -> None:
        """Fold all arrived touchpoints."""
        self._rows.fetch(self.arrived)
        for customer_id, touchpoints in self.arrived.items():
            self._fold(customer_id, touchpoints)
        self.arrived.clear()

    def _line(self, record: Record) -> Line:
        return Line(self._folding, self._rows, record.fields["customer_id"], self.outputs, record.timestamp)

    def _line_to_replace(self, record: Record) -> Line:
        """Return the line of a record's customer after the customer's arrived touchpoints were folded."""
        customer_id = record.fields["customer_id"]
        if customer_id in self.arrived:
            self._fold(customer_id, self.arrived.pop(customer_id))
        self._replaced.add(customer_id)
        return self._line(record)

    def _fold(self, customer_id: bytes, touchpoints: list[Touchpoint]) -> None:
        line = Line(self._folding, self._rows, customer_id, self.outputs, self._records[-1].timestamp)
        if line.customer.route is not None:
            touchpoints = line.forward(touchpoints)
        late = line.fold(touchpoints)
        if late:
            LATE.inc(len(late))
            line.add_lost(each.nodes for each in self._select_unknown(customer_id, late))
        if line.customer.lost:
            line.announce()

    def _select_unknown(self, customer_id: bytes, late: list[Touchpoint]) -> list[Touchpoint]:
        """Leave out the touchpoints of a repeated chunk, which the row already contains.

        The row contains every record up to its last applied offset, unless this chunk has replaced the row.
        """
        applied = self._rows.last_applied_offset(customer_id)
        if customer_id in self._replaced or applied < self._records[0].offset:
            return late
        repeated: set[bytes] = set()
        for record in self._records:
            if record.offset <= applied and record.fields.get("customer_id") == customer_id:
                if record.name == "resolved":
                    repeated.add(decode_touchpoint(record.fields["seen"]).id)
                elif record.name == "moved":
                    repeated.update(each.id for each in decode_touchpoints(record.fields["touchpoints"]))
        return [each for each in late if each.id not in repeated]
