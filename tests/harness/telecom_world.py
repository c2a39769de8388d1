"""Small telecom company of the demo: its records on the topics of sinks, its rows in ClickHouse, and its plain values.

The real mapping and the real steps produce the records, with all versions, merges and retractions.
"""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import UUID, uuid4

from deploy.demo.simulator.company import generate
from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from schemas.wire.codec import Fields, decode, encode, encode_model
from schemas.wire.topics import CHURN, CONNECTOR_STATE, CUSTOMERS, DEAD_LETTERS, IDENTITY, JOURNEYS, RESOLVED, SATISFACTION
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from tests.harness.chain import Chain
from tests.harness.demo_drops import map_drops
from tests.harness.sinks import COPIES, STATE, Stored, refresh

SEED, HOUSEHOLDS = 7, 200
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
DAY = 86_400_000
# The address of a shop, entered for callers instead of their own. It identifies no single person.
CALLS, COUNTER = 40, {"kind": "email", "value": "counter@example.org", "raw": None, "rules": None}
Topics = dict[tuple[str, int], list[bytes]]


class World:
    """Published records. Ids are UUIDs, times are milliseconds, `customer` is the customer as known now."""

    def __init__(self, folder: Path) -> None:
        generate(SEED, HOUSEHOLDS, UNTIL, folder)
        published = [touchpoint.model_dump() for _, touchpoint in map_drops(folder / "drops")]
        for fields in [each for each in published if each["type"] == "call.logged"][:CALLS]:
            fields["identifiers"].append(COUNTER)
        random.Random(SEED).shuffle(published)
        chain = Chain(SEED)
        for fields in published:
            chain.feed(fields)
        chain.run()
        chain.tick(int(UNTIL.timestamp() * 1000))
        chain.run()
        state = {**STATE, "connector": "telecom", "read": len(published) + 5, "dead_lettered": 3}
        chain.topics[CONNECTOR_STATE, 0].append(encode("connector_state", {**state, "published": len(published)}))
        for number, reason in enumerate(("wrong_type", "wrong_type", "missing_field")):
            letter = make_dead_letter(RecordError(reason, "field amount"), b"?", stage="files", origin=f"orders.csv:{number}")
            chain.topics[DEAD_LETTERS, 0].append(encode_model("dead_letter", letter))
        self.chain = chain
        self.members = self._last(IDENTITY, "member", "identifier_id")
        self.routes = self._last(IDENTITY, "route", "customer_id")
        self.owners = [fields for name, fields in self._records(IDENTITY) if name == "member"]
        self.conflicts = self._last(IDENTITY, "conflict", "conflict_id")
        revisions = self._last(CUSTOMERS, "customer", "customer_id")
        self.first_versions = {customer: each["revision"] << 40 for customer, each in revisions.items()}
        self.merged = {customer: each["current"] for customer, each in self.routes.items() if each["current"] != customer}

    @cached_property
    def touchpoints(self) -> list[Fields]:
        """Return each touchpoint once, in order of time and id, with `customer` and `stage`."""
        found = {}
        for fields in self._resolved():
            touchpoint = decode(fields["touchpoint"])[1]
            customer = self.owner(fields)
            found[touchpoint["event_id"]] = {**touchpoint, "customer": customer, "stage": fields["stage"]}
        return sorted(found.values(), key=lambda each: (each["occurred_at"], each["event_id"]))

    @cached_property
    def readings(self) -> dict[str, list[Fields]]:
        """Return the readings of the current revisions by topic, in order of time and evidence."""
        found = {topic: self._newest(topic, "reading_id") for topic in (SATISFACTION, CHURN)}
        return {topic: sorted(rows, key=lambda each: (each["at"], each["evidence"])) for topic, rows in found.items()}

    def clean(self) -> Topics:
        """Return the same world with final customers from the start: no routes, revisions, retractions or repetitions."""
        resolved = {decode(each["touchpoint"])[1]["event_id"]: each for each in self._resolved()}
        identity = [pair for pair in map(decode, self.chain.topics[IDENTITY, 0]) if pair[0] in ("evidence", "conflict")]
        records = {
            RESOLVED: [("resolved", {**each, "customer_id": self.owner(each).bytes}) for each in resolved.values()],
            IDENTITY: [*(("member", each) for each in self.members.values()), *identity],
            JOURNEYS: [("journey", {**each, "version": 1}) for each in self._newest(JOURNEYS, "journey_id")],
            **{topic: [("reading", {**each, "version": 1}) for each in rows] for topic, rows in self.readings.items()},
        }
        topics = {(topic, 0): self.chain.topics[topic, 0] for topic in (CONNECTOR_STATE, DEAD_LETTERS)}
        for topic, rows in records.items():
            topics[topic, 0] = [encode(name, each) for name, each in rows]
        return topics

    def owner(self, resolved: Fields) -> UUID:
        """Return the customer of a touchpoint as known now, by the route of the customer that it was resolved to."""
        route = self.routes.get(resolved["customer_id"])
        if route is None:
            return UUID(bytes=resolved["customer_id"])
        exceptions = {each["identifier_id"]: each["customer_id"] for each in route["exceptions"]}
        nodes = resolved["identifiers"]
        decisive = next((each for each in nodes if each not in route["shared"]), None)
        return UUID(bytes=exceptions.get(decisive, route["current"]) if decisive else nodes[0])

    def _resolved(self) -> Iterator[Fields]:
        return (fields for name, fields in self._records(RESOLVED) if name == "resolved")

    def _newest(self, topic: str, key: str) -> list[Fields]:
        """Return the rows that an analyst sees: the highest version of each id, without retracted and replaced ones."""
        newest: dict[bytes, Fields] = {}
        for _, row in self._records(topic):
            if row[key] not in newest or row["version"] >= newest[row[key]]["version"]:
                newest[row[key]] = row
        return [
            each
            for each in newest.values()
            if not each["deleted"] and each["version"] >= self.first_versions.get(each["customer_id"], 0)
        ]

    def _last(self, topic: str, name: str, key: str) -> dict[bytes, Fields]:
        return {fields[key]: fields for found, fields in self._records(topic) if found == name}

    def _records(self, topic: str) -> Iterable[tuple[str, Fields]]:
        return (decode(value) for at, log in sorted(self.chain.topics.items()) if at[0] == topic for value in log)


def load(client: ClickHouse, topics: Topics, parts: int = 1) -> None:
    """Empty all tables and store the records; with several parts, half of the rows are stored in two of them."""
    dice = random.Random(SEED)
    for copy in COPIES:
        client.execute(f"TRUNCATE TABLE touchline_store.{copy}")
    for table in load_tables().values():
        client.execute(f"TRUNCATE TABLE {table.stored}")
        records = [
            Stored(topic, partition, offset, value)
            for (topic, partition), log in sorted(topics.items())
            if topic == table.topic
            for offset, value in enumerate(log)
        ]
        rows = transform(table, records).rows
        for part in range(parts):
            piece = [*rows[part::parts], *(dice.sample(rows, len(rows) // 2 // parts) if parts > 1 else ())]
            if piece:
                client.insert(table.stored, table.columns, list(zip(*piece, strict=True)), uuid4().hex)
    refresh()
