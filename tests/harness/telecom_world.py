"""Small telecom company of the demo: its records on the topics of sinks, its rows in ClickHouse, and its plain values.

The real mapping and the real steps produce the records, with all versions, merges and retractions.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import UUID, uuid4

from deploy.demo.simulator.company import generate
from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from schemas.wire.codec import Fields, decode, encode, encode_model
from schemas.wire.topics import CHURN, CONNECTOR_STATE, DEAD_LETTERS, IDENTITY, JOURNEYS, RESOLVED, SATISFACTION
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from tests.harness.chain import Chain
from tests.harness.demo_drops import map_drops
from tests.harness.sinks import COPIES, STATE, Stored, refresh

SEED, CUSTOMERS = 7, 200
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
DAY = 86_400_000
Topics = dict[tuple[str, int], list[bytes]]


class World:
    """Published records. Ids are UUIDs, times are milliseconds, `customer` is the customer as known now."""

    def __init__(self, folder: Path) -> None:
        generate(SEED, CUSTOMERS, UNTIL, folder)
        published = [touchpoint.model_dump() for _, touchpoint in map_drops(folder / "drops")]
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
        self.merged = chain.canonical_customers()

    @cached_property
    def touchpoints(self) -> list[Fields]:
        """Return each touchpoint once, in order of time and id, with `customer` and `stage`."""
        found = {}
        for fields in self._resolved():
            touchpoint = decode(fields["touchpoint"])[1]
            customer = self.now(fields["customer_id"])
            found[touchpoint["event_id"]] = {**touchpoint, "customer": customer, "stage": fields["stage"]}
        return sorted(found.values(), key=lambda each: (each["occurred_at"], each["event_id"]))

    @cached_property
    def readings(self) -> dict[str, list[Fields]]:
        """Return the readings of current customers by topic, in order of time and evidence."""
        found = {topic: self._newest(topic, "reading_id") for topic in (SATISFACTION, CHURN)}
        return {topic: sorted(rows, key=lambda each: (each["at"], each["evidence"])) for topic, rows in found.items()}

    @cached_property
    def edges(self) -> list[Fields]:
        """Return the last edge of each identifier."""
        found = [fields for name, fields in map(decode, self.chain.topics[IDENTITY, 0]) if name == "edge"]
        return list({(each["kind"], each["value"]): each for each in found}.values())

    def clean(self) -> Topics:
        """Return the same world with final customers from the start: no merges, versions, retractions or repetitions."""
        resolved = {decode(each["touchpoint"])[1]["event_id"]: each for each in self._resolved()}
        records = {
            RESOLVED: [("resolved", each) for each in resolved.values()],
            IDENTITY: [("edge", each) for each in self.edges],
            JOURNEYS: [("journey", {**each, "version": 1}) for each in self._newest(JOURNEYS, "journey_id")],
            **{topic: [("reading", {**each, "version": 1}) for each in rows] for topic, rows in self.readings.items()},
        }
        topics = {(topic, 0): self.chain.topics[topic, 0] for topic in (CONNECTOR_STATE, DEAD_LETTERS)}
        for topic, rows in records.items():
            topics[topic, 0] = [encode(name, {**each, "customer_id": self.now(each["customer_id"]).bytes}) for name, each in rows]
        return topics

    def now(self, customer: bytes) -> UUID:
        return UUID(bytes=self.merged.get(customer, customer))

    def _resolved(self) -> Iterator[Fields]:
        for (topic, _), log in sorted(self.chain.topics.items()):
            for name, fields in map(decode, log if topic == RESOLVED else ()):
                if name == "resolved":
                    yield fields

    def _newest(self, topic: str, key: str) -> list[Fields]:
        return [each for each in self.chain.newest(topic, key).values() if each["customer_id"] not in self.merged]


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
