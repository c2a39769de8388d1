"""Change topics that Debezium writes, read partition by partition from an offset of our own.

Guarantee: at least once, exact by event id, for every change that the topics hold; what Debezium tells twice after a restart of
its own is the same event. Deletes: events of the log.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import ClassVar, NamedTuple

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, RejectedRecord, StreamSpec, Window
from connectors.debezium.change import Change, change
from connectors.debezium.cluster import Cluster, Known, Message
from connectors.debezium.formats import Registry, from_json
from connectors.debezium.settings import DebeziumSettings, Topic
from connectors.errors import CursorExpiredError
from connectors.http.rate_limit import RateLimit
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from schemas.errors import RecordError, RetryableError
from schemas.records.touchpoint import Touchpoint

SEEN = frozenset(Change._fields)
IDLE_SECONDS = 30.0
MORE = "; of a deleted row there is only its key, until the table has REPLICA IDENTITY FULL and `replica_identity: full` says so"
ANEW = "the topic {} was made anew"
NOT_HELD = "the topic {} holds nothing before offset {}"
log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A partition of a topic as it is now: the offsets that it holds, the last one excluded."""

    topic: str
    partition: int
    id: str
    first: int
    end: int


class Connector:
    """The topics of one cluster; each partition is a stream `<feed>:<partition>`. Cursor: {topic: its id, offset}."""

    settings_model: ClassVar[type[BaseModel]] = DebeziumSettings

    def __init__(self, settings: DebeziumSettings, cluster: Cluster | None = None) -> None:
        self.settings = settings
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit()
        self.cluster = cluster or Cluster(settings)
        self.registry = Registry(settings) if settings.registry else None
        self._decode = self.registry.read if self.registry else from_json
        self._maps = {feed: self._mapping(feed, topic, topic.map) for feed, topic in settings.topics.items()}
        snapshots = {feed: (topic, topic.snapshot_map) for feed, topic in settings.topics.items()}
        self._snapshots = {feed: self._mapping(feed, topic, given) for feed, (topic, given) in snapshots.items() if given}
        self._idle: dict[str, float] = {}
        self._told: set[str] = set()

    def check(self) -> str:
        """How many topics there are, and whether their newest records can be read. Raises ConfigError with what to change."""
        if self.registry:
            self.registry.check()
        known = self._known()
        partitions = sum(len(each.partitions) for each in known.values())
        said = f"{len(known)} of {len(self.settings.topics)} topics, {partitions} partitions"
        missing = [topic.topic for topic in self.settings.topics.values() if topic.topic not in known]
        said += f"; no topic yet: {', '.join(missing)}" if missing else ""
        for feed, topic in self.settings.topics.items():
            for partition in known.get(topic.topic, Known("", ())).partitions:
                wrong = self._newest(feed, partition)
                said += f"; the newest record of {feed}:{partition} cannot be read: {wrong}" if wrong else ""
        return said

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Every partition of every topic that there is."""
        known = self._known()
        for feed, topic in self.settings.topics.items():
            if topic.topic not in known and topic.topic not in self._told:
                self._told.add(topic.topic)
                log.warning("%s: there is no topic %s yet: Debezium makes it with the first change", self.name, topic.topic)
            yield from (f"{feed}:{partition}" for partition in known.get(topic.topic, Known("", ())).partitions)

    def describe_stream(self, stream: str) -> StreamSpec:
        """As the settings say. What a stream is read by is the time at which its records came to Kafka."""
        topic = self._topic(stream)
        return StreamSpec(topic.source, deletes="log", is_timed=True, is_snapshot=topic.snapshot)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The changes after the cursor, up to what the partition holds now."""
        place = self._place(stream)
        offset, left_out = self._begin(place, cursor, window), 0
        end = self._at(place, window.end) if window.end else place.end
        if offset >= end and (cursor is None or self._due(stream)):
            yield Batch((), {"topic": place.id, "offset": offset}, progress=1.0)
        begin = offset
        for messages, position in self.cluster.messages(place.topic, place.partition, offset, end, self.settings.batch):
            found = [self._record(stream, message) for message in messages if message.value is not None]
            records = [record for record in found if record]
            left_out += len(found) - len(records)
            yield Batch(records, {"topic": place.id, "offset": position}, progress=(position - begin) / (end - begin))
        if left_out:
            log.info("%s: %s: %d rows of a snapshot left out: `snapshot_map` would publish them", self.name, stream, left_out)

    def map_record(self, record: Record) -> Touchpoint:
        """The change mapped. Raises RecordError."""
        feed = record.stream.partition(":")[0]
        mapping = self._snapshots[feed] if record.data["op"] == "r" else self._maps[feed]
        try:
            return mapping.create_touchpoint(record.key, record.version, record.data, record.read_at, {})
        except RecordError as error:
            if error.reason == "missing_identifier" and record.is_deleted and self._topic(feed).replica_identity == "default":
                raise RecordError(error.reason, error.detail + MORE) from None
            raise

    def count(self, stream: str, window: Window) -> int | None:
        """Offsets say nothing: tombstones, marks and compacted records have some, too."""

    def close(self) -> None:
        """Close the connections."""
        self.cluster.close()
        if self.registry:
            self.registry.close()

    def _mapping(self, feed: str, topic: Topic, fields: Mapping[str, str | dict[str, str]]) -> TouchpointMapping:
        return TouchpointMapping(
            connector=self.settings.name,
            feed=feed,
            where=f"topics.{feed}.{'map' if fields is topic.map else 'snapshot_map'}",
            source=topic.source,
            system=topic.system,
            columns=SEEN,
            fields=fields,
        )

    def _topic(self, stream: str) -> Topic:
        return self.settings.topics[stream.partition(":")[0]]

    def _known(self) -> dict[str, Known]:
        return self.cluster.topics([topic.topic for topic in self.settings.topics.values()])

    def _place(self, stream: str) -> Place:
        topic, partition = self._topic(stream).topic, int(stream.partition(":")[2])
        known = self.cluster.topics([topic]).get(topic)
        if known is None or partition not in known.partitions:
            raise RetryableError(f"the topic {topic} is gone, or its partition {partition}")
        return Place(topic, partition, known.id, *self.cluster.extent(topic, partition))

    def _begin(self, place: Place, cursor: Cursor | None, window: Window) -> int:
        if cursor is None:
            return self._at(place, window.start) if window.start else place.first
        offset = int(cursor["offset"])
        if cursor["topic"] != place.id or offset > place.end:
            raise CursorExpiredError(ANEW.format(place.topic))
        if offset < place.first:
            raise CursorExpiredError(NOT_HELD.format(place.topic, place.first))
        return offset

    def _at(self, place: Place, moment: datetime) -> int:
        found = self.cluster.at(place.topic, place.partition, moment)
        return place.end if found is None else min(found, place.end)

    def _due(self, stream: str) -> bool:
        """Whether to say again that there is nothing new: the state's `last_success_at` tells who looks that all is well."""
        now = time.monotonic()
        due = now - self._idle.get(stream, 0.0) >= IDLE_SECONDS
        if due:
            self._idle[stream] = now
        return due

    def _record(self, stream: str, message: Message) -> Record | RejectedRecord | None:
        """The message as a record; None for a row of a snapshot that nobody asked for."""
        assert message.value is not None
        position = str(message.offset)
        try:
            found = self._change(stream, message)
        except RecordError as error:
            return RejectedRecord(message.value, len(message.value), position, error)
        if found.op == "r" and stream.partition(":")[0] not in self._snapshots:
            return None
        key, version, now = found.name, found.version, datetime.now(UTC)
        deleted = found.op == "d"
        return Record(stream, key, version, found._asdict(), message.value, position, now, message.time, deleted)

    def _change(self, stream: str, message: Message) -> Change:
        key, value = (None if raw is None else self._decode(raw) for raw in (message.key, message.value))
        full = self._topic(stream).replica_identity == "full"
        return change(key, value, unwrapped=self.settings.unwrapped, full=full)

    def _newest(self, feed: str, partition: int) -> str:
        """What is wrong with the newest record of a partition, if anything is."""
        place = self._place(f"{feed}:{partition}")
        last = max(place.first, place.end - 1)
        try:
            for messages, _ in self.cluster.messages(place.topic, partition, last, place.end, 1):
                for message in messages:
                    if message.value is not None:
                        self._change(feed, message)
        except RecordError as error:
            return error.detail
        return ""
