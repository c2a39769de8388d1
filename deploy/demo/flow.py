"""Progress of the records: counts of the connectors, and consumer lag before each stage, as the broker reports them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, decode
from schemas.wire.topics import CONNECTOR_STATE, TOPICS
from sinks.contract import load_tables
from streams.steps.identify import Identify
from streams.steps.join import Join
from streams.steps.link import Link

WORK_GROUP = "touchline-work"


class Source(NamedTuple):
    """Totals of one connector in source records; a `repeated` record had key and version of an earlier one in the same file."""

    name: str
    read: int
    published: int
    dead_lettered: int
    repeated: int


class Stage(NamedTuple):
    """One consumer of the chain: records it has committed, and records that wait for it."""

    name: str
    done: int
    waiting: int


class Flow(NamedTuple):
    """Counts of all sources and stages at one time."""

    sources: list[Source]
    stages: list[Stage]

    @property
    def waiting(self) -> int:
        """Return the number of records that wait for any stage."""
        return sum(stage.waiting for stage in self.stages)


def list_consumers() -> dict[str, tuple[str, frozenset[str]]]:
    """Return the consumer group and the topics of every stage of the chain."""
    steps = {step.name: (WORK_GROUP, frozenset(step.topics)) for step in (Identify, Link, Join)}
    stores = {f"store {name}": (f"touchline-sink-{name}", frozenset({table.topic})) for name, table in load_tables().items()}
    return {**steps, **stores}


class FlowReader:
    """Reader of the flow, with connections to Kafka of its own."""

    def __init__(self, settings: KafkaSettings, sources: Sequence[str]) -> None:
        self._sources = sources
        self._admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-demo")
        self._saved = KafkaConsumer(**settings.kafka_python(), client_id="touchline-demo", enable_auto_commit=False)
        self._saved.assign([TopicPartition(CONNECTOR_STATE, 0)])
        self._saved.seek_to_beginning()
        self._states: dict[tuple[str, str], Fields] = {}
        self._partitions = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]

    def read(self) -> Flow:
        """Return the flow. Committed offsets are read before end offsets, so each record on its way counts as waiting.

        Raises RetryableError while Kafka is away.
        """
        stages = list_consumers()
        try:
            self._read_states()
            committed = self._read_committed({group for group, _ in stages.values()})
            ends = self._admin.list_partition_offsets(dict.fromkeys(self._partitions, OffsetSpec.LATEST))
        except KafkaError as error:
            raise RetryableError(f"Kafka did not return the offsets: {type(error).__name__}") from error
        found = []
        for name, (group, topics) in stages.items():
            partitions = [partition for partition in self._partitions if partition.topic in topics]
            end = sum(ends[partition].offset for partition in partitions)
            offsets = committed.get(group, {})
            done = sum(max(0, offsets[partition].offset) for partition in partitions if partition in offsets)
            found.append(Stage(name, done, end - done))
        return Flow([self._source(name) for name in self._sources], found)

    def close(self) -> None:
        """Close the connections."""
        self._saved.close()
        self._admin.close()

    def _read_committed(self, groups: set[str]) -> dict[str, Any]:
        try:
            committed: dict[str, Any] = self._admin.list_group_offsets(sorted(groups))
        except CoordinatorNotAvailableError:
            return {}  # a new broker: no group has committed yet
        return committed

    def _read_states(self) -> None:
        """Read the states that connectors saved since the last call."""
        for records in self._saved.poll(timeout_ms=200, max_records=10_000).values():
            for record in records:
                _, fields = decode(record.value)
                self._states[fields["connector"], fields["stream"]] = fields

    def _source(self, name: str) -> Source:
        states = [fields for (connector, _), fields in self._states.items() if connector == name]
        return Source(name, *(sum(fields[total] for fields in states) for total in Source._fields[1:]))


@contextmanager
def open_flow(settings: KafkaSettings, sources: Sequence[str]) -> Iterator[FlowReader]:
    """Yield a FlowReader and close it at the end of the block."""
    reader = FlowReader(settings, sources)
    try:
        yield reader
    finally:
        reader.close()
