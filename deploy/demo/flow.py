"""Where the records are: what connectors read, and what waits in Kafka before each stage, as the broker tells it."""

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
from sinks.contract import tables
from streams.steps.identify import Identify
from streams.steps.join import Join
from streams.steps.link import Link

WORK = "touchline-work"


class Source(NamedTuple):
    """Totals of one connector in source records; `repeated` ones had key and version of one before in the same file."""

    name: str
    read: int
    published: int
    dead_lettered: int
    repeated: int


class Stage(NamedTuple):
    """One consumer of the chain: records it is done with, and records that wait for it."""

    name: str
    done: int
    waiting: int


class Flow(NamedTuple):
    """One look at the whole line."""

    sources: list[Source]
    stages: list[Stage]

    @property
    def waiting(self) -> int:
        """Records that wait anywhere."""
        return sum(stage.waiting for stage in self.stages)


def consumers() -> dict[str, tuple[str, frozenset[str]]]:
    """Every stage of the chain: its consumer group and topics."""
    steps = {step.name: (WORK, frozenset(step.topics)) for step in (Identify, Link, Join)}
    stores = {f"store {name}": (f"touchline-sink-{name}", frozenset({table.topic})) for name, table in tables().items()}
    return {**steps, **stores}


class Watch:
    """Looks at the flow; holds its connections to Kafka."""

    def __init__(self, settings: KafkaSettings, sources: Sequence[str]) -> None:
        self._sources = sources
        self._admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-demo")
        self._saved = KafkaConsumer(**settings.kafka_python(), client_id="touchline-demo", enable_auto_commit=False)
        self._saved.assign([TopicPartition(CONNECTOR_STATE, 0)])
        self._saved.seek_to_beginning()
        self._states: dict[tuple[str, str], Fields] = {}
        self._partitions = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]

    def look(self) -> Flow:
        """Committed offsets first, ends after them: a record on its way is always counted as waiting somewhere.

        Raises RetryableError while Kafka is away.
        """
        stages = consumers()
        try:
            self._follow()
            committed = self._committed({group for group, _ in stages.values()})
            ends = self._admin.list_partition_offsets(dict.fromkeys(self._partitions, OffsetSpec.LATEST))
        except KafkaError as error:
            raise RetryableError(f"Kafka does not say where the records are: {type(error).__name__}") from error
        found = []
        for name, (group, topics) in stages.items():
            mine = [partition for partition in self._partitions if partition.topic in topics]
            end = sum(ends[partition].offset for partition in mine)
            at = committed.get(group, {})
            done = sum(max(0, at[partition].offset) for partition in mine if partition in at)
            found.append(Stage(name, done, end - done))
        return Flow([self._source(name) for name in self._sources], found)

    def close(self) -> None:
        """Close the connections."""
        self._saved.close()
        self._admin.close()

    def _committed(self, groups: set[str]) -> dict[str, Any]:
        try:
            committed: dict[str, Any] = self._admin.list_group_offsets(sorted(groups))
        except CoordinatorNotAvailableError:
            return {}  # a new broker, where no group has committed anything yet
        return committed

    def _follow(self) -> None:
        """Take in what the connectors saved since the last look."""
        for records in self._saved.poll(timeout_ms=200, max_records=10_000).values():
            for record in records:
                _, fields = decode(record.value)
                self._states[fields["connector"], fields["stream"]] = fields

    def _source(self, name: str) -> Source:
        mine = [fields for (connector, _), fields in self._states.items() if connector == name]
        return Source(name, *(sum(fields[total] for fields in mine) for total in Source._fields[1:]))


@contextmanager
def watching(settings: KafkaSettings, sources: Sequence[str]) -> Iterator[Watch]:
    """A Watch that is closed at the end of the block."""
    watch = Watch(settings, sources)
    try:
        yield watch
    finally:
        watch.close()
