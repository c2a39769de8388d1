"""The topics as they are on Kafka, read on from where the last look ended, and the offsets that every group has committed."""

from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from deploy.demo.flow import consumers
from schemas.codec import Fields, decode
from schemas.errors import RecordError
from schemas.settings import KafkaSettings
from schemas.topics import CUSTOMER_STATE, IDENTITY, IDENTITY_STATE, TOPICS
from streams.engine.store import FENCE_BYTES, unfenced
from streams.journeys import journey
from streams.signals import signals
from streams.steps.customer import Customer, decode_customer
from streams.steps.identity import standing

ROWS = frozenset({CUSTOMER_STATE, IDENTITY_STATE})
Committed = dict[str, dict[tuple[str, int], int]]


class Entry(NamedTuple):
    """One record of a topic; `name` is its schema, empty where it has none. State rows are not decoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    name: str
    fields: Fields

    @property
    def origin(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Log:
    """All topics in memory; `follow` reads on to their ends as they are now."""

    def __init__(self) -> None:
        self.entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self._next = {TopicPartition(topic.name, number): 0 for topic in TOPICS for number in range(topic.partitions)}

    def follow(self) -> None:
        consumer = KafkaConsumer(**KafkaSettings().kafka_python(), enable_auto_commit=False)
        try:
            consumer.assign(list(self._next))
            for partition, offset in self._next.items():
                consumer.seek(partition, offset)
            ends = consumer.end_offsets(list(self._next))
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                for partition, records in consumer.poll(timeout_ms=500, max_records=20_000).items():
                    self.entries[partition.topic] += map(entry, records)
                    self._next[partition] = records[-1].offset + 1
        finally:
            consumer.close()

    def letters(self) -> set[tuple[str, str]]:
        """Stage and origin of every dead letter."""
        return {(each.fields["stage"], each.fields["origin"]) for each in self.entries["touchline.dead-letters"]}

    def customers(self) -> dict[bytes, Customer]:
        """The state rows as recovery would find them: of each customer the one with the highest fence, the last of these."""
        newest: dict[bytes, bytes] = {}
        for each in self.entries[CUSTOMER_STATE]:
            assert each.key is not None
            if each.value[:FENCE_BYTES] >= newest.get(each.key, b"")[:FENCE_BYTES]:
                newest[each.key] = each.value
        return {key: decode_customer(unfenced(value)) for key, value in newest.items()}

    def identities(self) -> dict[tuple[str, str], bytes]:
        """Each identifier's customer, as of now."""
        newest = {each.key: each.value for each in self.entries[IDENTITY] if each.key is not None}
        edges = [each.fields for each in self.entries[IDENTITY] if each.name == "edge"]
        return {(edge["kind"], edge["value"]): standing(edge["customer_id"], newest.get) for edge in edges}


def entry(record: Any) -> Entry:
    """A record as the client hands it out, decoded."""
    try:
        name, fields = ("", {}) if record.topic in ROWS else decode(record.value)
    except RecordError:
        name, fields = "", {}
    return Entry(record.topic, record.partition, record.offset, record.key, record.value, name, fields)


def states(row: Customer) -> dict[str, Any]:
    """The states that a row holds: of the journeys, and of each signal."""
    types: dict[str, type[Any]] = {"journey": journey.State, **{each.name: each.state for each in signals()}}
    return {name: msgspec.msgpack.decode(row.states[name], type=kind) for name, kind in types.items()}


def committed() -> Committed:
    """Next offset by group, topic and partition."""
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    try:
        groups = admin.list_group_offsets(sorted({group for group, _ in consumers().values()}))
    finally:
        admin.close()
    return {
        group: {(partition.topic, partition.partition): found.offset for partition, found in offsets.items()}
        for group, offsets in groups.items()
    }
