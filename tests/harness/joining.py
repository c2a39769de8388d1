"""The join step alone on an in-memory `touchline.resolved`, in any chunks, with crashes, routes and rebuilds."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.records.families import FAMILIES
from schemas.wire.codec import decode, encode
from schemas.wire.topics import CUSTOMERS, JOURNEYS, RESOLVED, customer_partition
from streams.contract import Output, Record, Rows
from streams.engine.producer import group_rows
from streams.signals import load_signals
from streams.steps.customer import CUSTOMER_ID_BYTES, REVISION_SHIFT, Customer, decode_customer, encode_row
from streams.steps.join import Join
from streams.touchpoint import Touchpoint, encode_touchpoints

Store = dict[bytes, tuple[int, bytes]]
VALUE = encode(
    "erp",
    {
        **dict.fromkeys(FAMILIES["erp"].model_fields),
        "event_id": bytes(16),
        "source": "erp",
        "system": "test",
        "connector": "test",
        "type": "order.placed",
        "channel": "web",
        "occurred_at": 0,
        "received_at": 0,
        "identifiers": [],
        "attributes": {},
    },
)


class Joining:
    """Partitions of `touchline.resolved` as lists. `run` processes chunks of random sizes until none is left.

    With `crashes`, a chunk may stop after its outputs and a part of its changelog. Its partition then begins again at an earlier
    commit.
    """

    def __init__(self, seed: int = 0, *, crashes: bool = False, kept: int = 1024, max_chunk: int = 7) -> None:
        self.chance = random.Random(seed)
        self.crashes = crashes
        self.max_chunk = max_chunk
        self.step = Join(load_signals(), kept)
        self.log: defaultdict[int, list[bytes]] = defaultdict(list)
        self.position: defaultdict[int, int] = defaultdict(int)
        self.committed: defaultdict[int, int] = defaultdict(int)
        self.stores: defaultdict[int, Store] = defaultdict(dict)
        self.published: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.now = 0
        self.parts: defaultdict[bytes, int] = defaultdict(int)

    def send(self, name: str, fields: dict[str, Any]) -> None:
        self.log[customer_partition(fields["customer_id"])].append(encode(name, fields))

    def resolve(self, customer_id: bytes, each: Touchpoint) -> None:
        seen = encode_touchpoints(each)
        self.send("resolved", {"customer_id": customer_id, "stage": "", "seen": seen, "touchpoint": VALUE, "identifiers": []})

    def rebuild(self, customer_id: bytes, touchpoints: Sequence[Touchpoint], *, size: int, keep_existing: bool) -> None:
        parts = [touchpoints[start : start + size] for start in range(0, len(touchpoints), size)] or [[]]
        for number, part in enumerate(parts):
            is_first, is_last = number == 0, number == len(parts) - 1
            self.send_part(customer_id, part, is_first=is_first, is_last=is_last, keep_existing=keep_existing)

    def send_part(
        self, customer_id: bytes, part: Sequence[Touchpoint], *, is_first: bool, is_last: bool, keep_existing: bool
    ) -> None:
        self.parts[customer_id] = number = 0 if is_first else self.parts[customer_id] + 1
        fields = {"customer_id": customer_id, "is_first": is_first, "is_last": is_last, "keep_existing": keep_existing}
        self.send("history", {**fields, "touchpoints": encode_touchpoints(part), "part": number})

    def run(self) -> None:
        while waiting := [at for at, log in self.log.items() if self.position[at] < len(log)]:
            self.process_chunk(self.chance.choice(sorted(waiting)))

    def run_some(self, chunks: int) -> None:
        """Process a few chunks, so that the partitions are at different places of time."""
        for _ in range(chunks):
            if waiting := [at for at, log in self.log.items() if self.position[at] < len(log)]:
                self.process_chunk(self.chance.choice(sorted(waiting)))

    def process_chunk(self, at: int) -> None:
        begin, store = self.position[at], self.stores[at]
        chunk = self.log[at][begin : begin + self.chance.randint(1, self.max_chunk)]
        self.position[at] += len(chunk)
        rows = Rows(lambda keys: [store.get(key) for key in keys])
        records = [Record(*decode(value), value, number, begin + number, self.now) for number, value in enumerate(chunk)]
        self._publish(self.step.process(records, rows, self._refuse))
        changes = list(rows.changes())
        if self.crashes and self.chance.random() < 0.2:
            groups = group_rows(changes, self.step.row_group_prefix_bytes)
            changes = [row for group in groups[: self.chance.randint(0, len(groups))] for row in group]
            self.position[at] = self.committed[at]
        elif self.chance.random() < 0.5:
            self.committed[at] = self.position[at]
        for key, row in changes:
            applied, _ = store.pop(key, (-1, b""))
            if row:
                store[key] = (max(applied, begin + len(chunk) - 1), row)

    def tick(self, at: int, since: int | None) -> list[dict[str, Any]]:
        """Return the readings of a tick."""
        record = Record("tick", {"at": at, "since": since}, b"", 0, 0)
        found: list[dict[str, Any]] = []
        for store in self.stores.values():
            rows = Rows(lambda keys: [], lambda rows=store: ((key, row) for key, (_, row) in rows.items()))  # type: ignore[misc]
            found += [decode(output.value)[1] for output in self.step.process([record], rows, self._refuse)]
        return found

    def _refuse(self, record: Record, error: Exception) -> None:
        raise AssertionError(error)

    def _publish(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic == RESOLVED:
                self.log[output.partition].append(output.value)
            else:
                self.published[output.topic].append(decode(output.value)[1])

    def row(self, customer_id: bytes) -> Customer:
        stored = self.stores[customer_partition(customer_id)].get(customer_id)
        return decode_customer(stored[1] if stored else None)

    def state(self) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """Return the rows of each customer with touchpoints, without revision and route."""
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for store in self.stores.values():
            for key, (_, value) in sorted(store.items()):
                row = value
                if len(key) == CUSTOMER_ID_BYTES:
                    customer = decode_customer(value)
                    customer.route, customer.revision, customer.replaced_at = None, 0, 0
                    row = encode_row(customer)
                if row != encode_row(Customer()):
                    found.setdefault(key[:CUSTOMER_ID_BYTES], []).append((key, row))
        return found

    def announced(self) -> dict[bytes, dict[str, Any]]:
        """Return the last `customer` record of each customer."""
        return {fields["customer_id"]: fields for fields in self.published[CUSTOMERS]}

    def visible(self) -> dict[bytes, dict[str, Any]]:
        """Return the rows that an analyst sees: the highest version of each id at or above the floor, without versions."""
        floors = {key: fields["revision"] << REVISION_SHIFT for key, fields in self.announced().items()}
        newest: dict[bytes, dict[str, Any]] = {}
        for topic, records in self.published.items():
            for row in records if topic != CUSTOMERS else ():
                key = row["journey_id" if topic == JOURNEYS else "reading_id"]
                if row["version"] >= newest.get(key, row)["version"]:
                    newest[key] = row
        return {
            key: {**row, "version": 0}
            for key, row in newest.items()
            if not row["deleted"] and row["version"] >= floors.get(row["customer_id"], 0)
        }
