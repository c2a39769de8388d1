"""The records of all topics, read incrementally, and the committed offsets of every group."""

from collections import defaultdict
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorLoadInProgressError

from deploy.demo.flow import list_consumers
from schemas.errors import RecordError, RetryableError
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, decode
from schemas.wire.topics import CUSTOMER_STATE, DEAD_LETTERS, IDENTITY, IDENTITY_STATE, TOPICS
from streams.touchpoint import Touchpoint, decode_touchpoint, decode_touchpoints

ROWS = frozenset({CUSTOMER_STATE, IDENTITY_STATE})
Committed = dict[str, dict[tuple[str, int], int]]


class Entry(NamedTuple):
    """One record of a topic; `name` is its schema, or empty. State rows are not decoded."""

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

    def ids(self) -> set[bytes]:
        """Return the ids of the touchpoints in a record of `touchline.resolved`."""
        return {each.id for each in self.touchpoints()}

    def touchpoints(self) -> list[Touchpoint]:
        """Return the touchpoints in a record of `touchline.resolved`."""
        if self.name == "resolved":
            return [decode_touchpoint(self.fields["seen"])]
        return decode_touchpoints(self.fields["touchpoints"]) if self.name in ("moved", "history") else []


class Log:
    """All topics in memory; `follow` reads to their current ends."""

    def __init__(self) -> None:
        self.entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self._next = {TopicPartition(topic.name, number): 0 for topic in TOPICS for number in range(topic.partitions)}

    def read_new_records(self) -> None:
        consumer = KafkaConsumer(**KafkaSettings().kafka_python(), enable_auto_commit=False)
        try:
            consumer.assign(list(self._next))
            for partition, offset in self._next.items():
                consumer.seek(partition, offset)
            ends = consumer.end_offsets(list(self._next))
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                for partition, records in consumer.poll(timeout_ms=500, max_records=20_000).items():
                    self.entries[partition.topic] += map(decode_entry, records)
                    self._next[partition] = records[-1].offset + 1
        finally:
            consumer.close()

    def dead_letters(self) -> set[tuple[str, str]]:
        """Return stage and origin of every dead letter."""
        return {
            (each.fields["stage"], each.fields["origin"]) for each in self.entries[DEAD_LETTERS] if each.name == "dead_letter"
        }

    def decisions(self) -> set[bytes]:
        """Return the ids of the decisions that the sequencer published."""
        return {each.fields["decision_id"] for each in self.entries[IDENTITY] if each.name == "decision"}

    def merged_customers(self) -> set[bytes]:
        """Return the customers that were merged into another one, also for some time only."""
        routes = (each.fields for each in self.entries[IDENTITY] if each.name == "route")
        return {route["customer_id"] for route in routes if route["current"] != route["customer_id"]}

    def identities(self) -> dict[tuple[str, str], bytes]:
        """Return the current customer of each identifier."""
        members = [each.fields for each in self.entries[IDENTITY] if each.name == "member"]
        return {(member["kind"], member["value"]): member["customer_id"] for member in members}


def decode_entry(record: Any) -> Entry:
    """Return a record of the Kafka client, decoded."""
    try:
        name, fields = ("", {}) if record.topic in ROWS else decode(record.value)
    except RecordError:
        name, fields = "", {}
    return Entry(record.topic, record.partition, record.offset, record.key, record.value, name, fields)


def read_committed_offsets() -> Committed:
    """Return the next offset by group, topic and partition. Raises RetryableError while a restarted broker loads its groups."""
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    try:
        groups = admin.list_group_offsets(sorted({group for group, _ in list_consumers().values()}))
    except CoordinatorLoadInProgressError as error:
        raise RetryableError("Kafka is still loading the committed offsets") from error
    finally:
        admin.close()
    return {
        group: {(partition.topic, partition.partition): found.offset for partition, found in offsets.items()}
        for group, offsets in groups.items()
    }
