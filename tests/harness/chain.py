"""The pure steps of the chain on in-memory topics, without Kafka, in any random interleaving."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import RecordError
from schemas.wire.codec import decode, encode
from schemas.wire.topics import IDENTITY, RESOLVED, TICKS, source_topic
from streams.contract import Record, Rows, Step
from streams.engine.producer import group_rows
from streams.signals import load_signals
from streams.steps.customer import decode_block, decode_customer
from streams.steps.history import History
from streams.steps.identify import Identify
from streams.steps.identity import read_customer_id
from streams.steps.join import Join
from streams.steps.line import block_key
from streams.steps.link import Link
from streams.touchpoint import Touchpoint


def read_kept(customer_id: bytes, rows: Mapping[bytes, bytes]) -> list[Touchpoint]:
    """Return the kept touchpoints of a customer, given all rows of its partition."""
    history = History(decode_customer(rows[customer_id]), lambda slot: decode_block(rows[block_key(customer_id, slot)]))
    return history.load_touchpoints()


class Chain:
    """Topics as lists. `run` processes chunks of random sizes from random topics until none is left.

    With `crashes`, a chunk may stop after its outputs and a part of its changelog, and is then processed again.
    """

    def __init__(self, seed: int = 0, *, crashes: bool = False) -> None:
        self.crashes = crashes
        self.chance = random.Random(seed)
        self.topics: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.position: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.stores: defaultdict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)
        self.copy: dict[bytes, bytes] = {}
        self.refused: list[tuple[Record, RecordError]] = []
        steps: Sequence[Step] = (Identify(self.copy.get), Link(), Join(load_signals()))
        self.step_of = {topic: step for step in steps for topic in step.topics}

    def feed(self, fields: dict[str, Any]) -> None:
        self.topics[source_topic(fields["source"]), 0].append(encode(fields["source"], fields))

    def tick(self, at: int, since: int | None = None) -> None:
        for partition in range(8):
            self.topics[TICKS, partition].append(encode("tick", {"at": at, "since": since}))

    def run(self) -> None:
        while waiting := [at for at, log in self.topics.items() if at[0] in self.step_of and self.position[at] < len(log)]:
            self.process_chunk(self.chance.choice(sorted(waiting)))

    def process_chunk(self, at: tuple[str, int]) -> None:
        size = self.chance.randint(1, 7)
        chunk = self.topics[at][self.position[at] : self.position[at] + size]
        self.position[at] += len(chunk)
        step, store = self.step_of[at[0]], self.stores[self.step_of[at[0]].name, at[1]]
        rows = Rows(
            lambda keys: [(-1, store[key]) if store.get(key) else None for key in keys], lambda: iter(sorted(store.items()))
        )
        records = [Record(*decode(value), value, position, position) for position, value in enumerate(chunk)]
        outputs = step.process(records, rows, lambda record, error: self.refused.append((record, error)))
        for output in outputs:
            self.topics[output.topic, output.partition].append(output.value)
            if output.topic == IDENTITY and self.chance.random() < 0.7:
                self.copy[output.key] = read_customer_id(output.value)
        changes = list(rows.changes())
        if self.crashes and self.chance.random() < 0.2:
            groups = group_rows(changes, step.row_group_prefix_bytes)  # a crash keeps or loses a row group
            for group in groups[: self.chance.randint(0, len(groups))]:
                store.update(group)
            self.position[at] -= len(chunk)  # the offset was not committed, so the chunk comes again
        else:
            store.update(changes)

    def touchpoints(self) -> dict[bytes, list[Touchpoint]]:
        """Return the kept touchpoints of each customer."""
        found = {}
        for at, store in self.stores.items():
            for key in store:
                if at[0] == "join" and len(key) == 16:
                    found[key] = read_kept(key, store)
        return found

    def values(self, topic: str) -> list[dict[str, Any]]:
        """Return the decoded records of a topic."""
        return [decode(value)[1] for at, log in sorted(self.topics.items()) if at[0] == topic for value in log]

    def newest(self, topic: str, key: str) -> dict[bytes, dict[str, Any]]:
        """Return the records that an analyst sees: the highest version of each id, without retracted ones and versions."""
        newest: dict[bytes, dict[str, Any]] = {}
        for row in self.values(topic):
            if row[key] not in newest or row["version"] >= newest[row[key]]["version"]:
                newest[row[key]] = row
        return {
            identity: {name: value for name, value in row.items() if name != "version"}
            for identity, row in newest.items()
            if not row["deleted"]
        }

    def canonical_customers(self) -> dict[bytes, bytes]:
        """Return each merged customer with its canonical one, in one hop. The last merge counts, as in the views."""
        return {fields["from_customer"]: fields["to_customer"] for fields in self._merges()}

    def _merges(self) -> list[dict[str, Any]]:
        return [fields for name, fields in map(decode, self.topics[IDENTITY, 0]) if name == "merge"]

    def customer_of(self, event_id: bytes) -> bytes:
        """Return the current customer of a touchpoint."""
        for at, log in self.topics.items():
            for value in log if at[0] == RESOLVED else ():
                name, fields = decode(value)
                if name == "resolved" and decode(fields["touchpoint"])[1]["event_id"] == event_id:
                    customer: bytes = fields["customer_id"]
                    return self.canonical_customers().get(customer, customer)
        raise LookupError(event_id.hex())
