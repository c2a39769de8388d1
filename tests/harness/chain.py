"""The pure steps of the chain on in-memory topics, without Kafka, in any random interleaving."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import RecordError
from schemas.wire.codec import decode, encode
from schemas.wire.topics import CUSTOMERS, IDENTITY, IDENTITY_REQUESTS, TICKS, source_topic
from streams.contract import Record, Rows, Step
from streams.engine.producer import group_rows
from streams.identity.committed import MARK, read_value
from streams.identity.naming import Naming
from streams.identity.rules import Rules
from streams.signals import load_signals
from streams.steps.customer import REVISION_SHIFT, Customer, decode_block, decode_customer, encode_row
from streams.steps.history import History
from streams.steps.identify import Identify
from streams.steps.identity import is_final, read_copy_row
from streams.steps.join import Join
from streams.steps.line import block_key
from streams.steps.link import Link
from streams.touchpoint import Touchpoint

SECRET = b"secret of all unit tests"
Store = dict[bytes, tuple[int, bytes]]


def read_kept(customer_id: bytes, rows: Mapping[bytes, bytes]) -> list[Touchpoint]:
    """Return the kept touchpoints of a customer, given all rows of its partition."""
    history = History(decode_customer(rows[customer_id]), lambda slot: decode_block(rows[block_key(customer_id, slot)]))
    return history.load_touchpoints()


def _without_revision(row: bytes) -> bytes:
    customer = decode_customer(row)
    customer.route, customer.revision, customer.replaced_at = None, 0, 0
    return encode_row(customer)


class Chain:
    """Topics as lists. `run` processes chunks of random sizes from random topics until none is left.

    With `crashes`, a chunk may stop after its outputs and a part of its changelog. Its partition then begins again at an earlier
    commit.
    """

    def __init__(self, seed: int = 0, *, crashes: bool = False, naming: Naming | None = None) -> None:
        self.crashes = crashes
        self.chance = random.Random(seed)
        self.topics: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.position: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.committed: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.stored: defaultdict[tuple[str, int], Store] = defaultdict(dict)
        self.changelog: defaultdict[tuple[str, int], list[tuple[bytes, tuple[int, bytes]]]] = defaultdict(list)
        self.copy: dict[bytes, bytes] = {}
        self._uncopied: list[tuple[bytes, bytes]] = []
        self.refused: list[tuple[Record, RecordError]] = []
        self.naming = naming or Naming(SECRET, Rules())
        steps: Sequence[Step] = (Identify(self.copy.get, self.naming), Link(self.naming), Join(load_signals()))
        self.step_of = {topic: step for step in steps for topic in step.topics}

    @property
    def stores(self) -> dict[tuple[str, int], dict[bytes, bytes]]:
        """Return the rows of each step and partition, without their last applied offsets."""
        return {at: {key: row for key, (_, row) in store.items() if row} for at, store in self.stored.items()}

    def feed(self, fields: dict[str, Any]) -> None:
        """Publish a touchpoint."""
        self.topics[source_topic(fields["source"]), 0].append(encode(fields["source"], fields))

    def decide(self, fields: dict[str, Any]) -> None:
        """Publish a decision of a person."""
        self.topics[IDENTITY_REQUESTS, 0].append(encode("decision", fields))

    def tick(self, at: int, since: int | None = None) -> None:
        for partition in range(8):
            self.topics[TICKS, partition].append(encode("tick", {"at": at, "since": since}))

    def run(self) -> None:
        while waiting := [at for at, log in self.topics.items() if at[0] in self.step_of and self.position[at] < len(log)]:
            self.process_chunk(self.chance.choice(sorted(waiting)))

    def process_chunk(self, at: tuple[str, int]) -> None:
        size = self.chance.randint(1, 7)
        begin = self.position[at]
        chunk = self.topics[at][begin : begin + size]
        self.position[at] = begin + len(chunk)
        step = self.step_of[at[0]]
        self._follow_identity()
        store = self.stored[step.name, at[1]]
        rows = Rows(
            lambda keys: [row if (row := store.get(key)) and row[1] else None for key in keys],
            lambda: iter([(key, row) for key, (_, row) in sorted(store.items()) if row]),
        )
        records = [Record(*decode(value), value, number, begin + number) for number, value in enumerate(chunk)]
        outputs = step.process(records, rows, lambda record, error: self.refused.append((record, error)))
        for output in outputs:
            self.topics[output.topic, output.partition].append(output.value)
            if output.topic == IDENTITY:
                self._uncopied.append((output.key, output.value))
        last = self.position[at] - 1 if at[0] == step.topics[0] else -1
        changes = [(key, (max(last, store.get(key, (-1, b""))[0]), row)) for key, row in rows.changes()]
        if self.crashes and self.chance.random() < 0.2:
            groups = group_rows(changes, step.row_group_prefix_bytes)  # type: ignore[arg-type]
            kept = [row for group in groups[: self.chance.randint(0, len(groups))] for row in group]
            self._recover(at, [*self.changelog[step.name, at[1]], *kept])  # type: ignore[list-item]
        else:
            store.update(changes)
            self.changelog[step.name, at[1]] += changes
            if self.chance.random() < 0.5:
                self.committed[at] = self.position[at]

    def _recover(self, at: tuple[str, int], changelog: list[tuple[bytes, tuple[int, bytes]]]) -> None:
        """Begin again at the last commit with the rows of the changelog, as another worker does. Higher offsets win."""
        step = self.step_of[at[0]]
        store = self.stored[step.name, at[1]]
        store.clear()
        for key, row in changelog:
            if row[0] >= store.get(key, (-1, b""))[0]:
                store[key] = row
        self.changelog[step.name, at[1]] = changelog
        self.position[at] = self.committed[at]  # all chunks since the last commit come again

    def _follow_identity(self) -> None:
        """Let the copy of the identity map follow by a random number of records."""
        count = self.chance.randint(0, len(self._uncopied))
        for key, value in self._uncopied[:count]:
            row = read_copy_row(value)
            if row is not None and not (is_final(self.copy.get(key, b"")) and not is_final(row)):
                self.copy[key] = row
        del self._uncopied[:count]

    def rows(self) -> dict[tuple[str, int], dict[bytes, bytes]]:
        """Return the newest values of all stored rows, those of customers without revision and route."""
        found = {}
        for at, store in self.stores.items():
            if at[0] == "link":
                found[at] = {key: read_value(row) for key, row in store.items() if key != MARK}
            else:
                kept = {key: _without_revision(row) if len(key) == 16 else row for key, row in store.items()}
                found[at] = {key: row for key, row in kept.items() if row != encode_row(Customer())}
        return {at: rows for at, rows in found.items() if rows}

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
        """Return the records that an analyst sees: the highest version of each id, without replaced and retracted ones."""
        floors = {row["customer_id"]: row["revision"] << REVISION_SHIFT for row in self.values(CUSTOMERS)}
        newest: dict[bytes, dict[str, Any]] = {}
        for row in self.values(topic):
            if row[key] not in newest or row["version"] >= newest[row[key]]["version"]:
                newest[row[key]] = row
        return {
            identity: {name: value for name, value in row.items() if name != "version"}
            for identity, row in newest.items()
            if not row["deleted"] and row["version"] >= floors.get(row["customer_id"], 0)
        }

    def members(self) -> dict[bytes, dict[str, Any]]:
        """Return the newest `member` record of each identifier."""
        members = {}
        for name, fields in map(decode, self.topics[IDENTITY, 0]):
            if name == "member":
                members[fields["identifier_id"]] = fields
        return members

    def owner_of(self, fields: dict[str, Any]) -> bytes:
        """Return the current customer of a touchpoint: the owner of its strongest unshared identifier."""
        members = self.members()
        nodes = self.naming.name(fields).nodes
        owners: list[bytes] = [members[id_]["customer_id"] for id_ in nodes if not members[id_]["is_shared"]]
        return owners[0] if owners else nodes[0]

    def routes(self) -> dict[bytes, dict[str, Any]]:
        """Return the newest `route` record of each customer id."""
        return {fields["customer_id"]: fields for name, fields in map(decode, self.topics[IDENTITY, 0]) if name == "route"}

    def canonical_customers(self) -> dict[bytes, bytes]:
        """Return each former customer id with the customer that its own identifier belongs to."""
        routes = self.routes()
        return {customer: route["current"] for customer, route in routes.items() if route["current"] != customer}
