"""Connector that reads change topics of Debezium partition by partition; the offsets are in its cursors.

Guarantee: at least once for every change that the topics hold; repeated reads have the same event id, and so have changes that
Debezium repeats after its own restart. Deletes: events of the log.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import ClassVar, NamedTuple

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, RejectedRecord, StreamSpec, Window
from connectors.debezium.change import Change, parse_change
from connectors.debezium.cluster import Cluster, Message, TopicInfo
from connectors.debezium.formats import Registry, decode_json
from connectors.debezium.settings import DebeziumSettings, Topic
from connectors.errors import CursorExpiredError, MissingIdentifierError
from connectors.http.rate_limit import RateLimit
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from schemas.errors import RecordError, RetryableError
from schemas.records.touchpoint import Touchpoint

COLUMNS = frozenset(Change._fields)
IDLE_SECONDS = 30.0
KEY_ONLY = "; a deleted row has only its key: set REPLICA IDENTITY FULL on the table and `replica_identity: full` here"
RECREATED = "the topic {} was recreated"
EXPIRED = "the topic {} holds no records before offset {}"
log = logging.getLogger(__name__)


class Partition(NamedTuple):
    """A partition as it is now: id of its topic, first offset, and the offset after its last record."""

    topic: str
    partition: int
    id: str
    first: int
    end: int


class Connector:
    """The topics of one cluster; each partition is a stream `<feed>:<partition>`. Cursor: {topic: id of the topic, offset}."""

    settings_model: ClassVar[type[BaseModel]] = DebeziumSettings

    def __init__(self, settings: DebeziumSettings, cluster: Cluster | None = None) -> None:
        self.settings = settings
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit()
        self.cluster = cluster or Cluster(settings)
        self.registry = Registry(settings) if settings.registry else None
        self._decode = self.registry.decode if self.registry else decode_json
        self._maps = {feed: self._create_mapping(feed, topic, topic.map) for feed, topic in settings.topics.items()}
        snapshots = {feed: (topic, topic.snapshot_map) for feed, topic in settings.topics.items()}
        self._snapshots = {feed: self._create_mapping(feed, topic, given) for feed, (topic, given) in snapshots.items() if given}
        self._idle: dict[str, float] = {}
        self._reported: set[str] = set()

    def check(self) -> str:
        """Return the number of topics and errors of their newest records. Raises ConfigError with the setting to change."""
        if self.registry:
            self.registry.check()
        known = self._describe_topics()
        partitions = sum(len(each.partitions) for each in known.values())
        result = f"{len(known)} of {len(self.settings.topics)} topics, {partitions} partitions"
        missing = [topic.topic for topic in self.settings.topics.values() if topic.topic not in known]
        result += f"; no topic yet: {', '.join(missing)}" if missing else ""
        for feed, topic in self.settings.topics.items():
            for partition in known.get(topic.topic, TopicInfo("", ())).partitions:
                error = self._check_newest(feed, partition)
                result += f"; the newest record of {feed}:{partition} cannot be read: {error}" if error else ""
        return result

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Yield every partition of every topic that exists."""
        known = self._describe_topics()
        for feed, topic in self.settings.topics.items():
            if topic.topic not in known and topic.topic not in self._reported:
                self._reported.add(topic.topic)
                log.warning("%s: there is no topic %s yet: Debezium creates it with the first change", self.name, topic.topic)
            yield from (f"{feed}:{partition}" for partition in known.get(topic.topic, TopicInfo("", ())).partitions)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties that the settings define. The time of a record is its timestamp in Kafka."""
        topic = self._find_topic(stream)
        return StreamSpec(topic.source, deletes="log", is_timed=True, is_snapshot=topic.snapshot)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the changes after the cursor up to the current end of the partition."""
        place = self._find_partition(stream)
        offset, skipped = self._find_begin(place, cursor, window), 0
        end = self._find_offset(place, window.end) if window.end else place.end
        if offset >= end and (cursor is None or self._is_due(stream)):
            yield Batch((), {"topic": place.id, "offset": offset}, progress=1.0)
        begin = offset
        for messages, position in self.cluster.read_messages(place.topic, place.partition, offset, end, self.settings.batch):
            parsed = [self._create_record(stream, message) for message in messages if message.value is not None]
            records = [record for record in parsed if record]
            skipped += len(parsed) - len(records)
            yield Batch(records, {"topic": place.id, "offset": position}, progress=(position - begin) / (end - begin))
        if skipped:
            log.info("%s: %s: skipped %d snapshot rows: set `snapshot_map` to publish them", self.name, stream, skipped)

    def map_record(self, record: Record) -> Touchpoint:
        """Map the change. Raises RecordError."""
        feed = record.stream.partition(":")[0]
        mapping = self._snapshots[feed] if record.data["op"] == "r" else self._maps[feed]
        try:
            return mapping.create_touchpoint(record.key, record.version, record.data, record.read_at, {})
        except MissingIdentifierError as error:
            if record.is_deleted and self._find_topic(feed).replica_identity == "default":
                error.add_hint(KEY_ONLY)
            raise

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: offsets are no count, because tombstones, markers and compacted records have offsets, too."""

    def close(self) -> None:
        """Close the connections."""
        self.cluster.close()
        if self.registry:
            self.registry.close()

    def _create_mapping(self, feed: str, topic: Topic, fields: Mapping[str, str | dict[str, str]]) -> TouchpointMapping:
        return TouchpointMapping(
            connector=self.settings.name,
            feed=feed,
            where=f"topics.{feed}.{'map' if fields is topic.map else 'snapshot_map'}",
            source=topic.source,
            system=topic.system,
            columns=COLUMNS,
            fields=fields,
            settings=topic,
        )

    def _find_topic(self, stream: str) -> Topic:
        return self.settings.topics[stream.partition(":")[0]]

    def _describe_topics(self) -> dict[str, TopicInfo]:
        return self.cluster.describe_topics([topic.topic for topic in self.settings.topics.values()])

    def _find_partition(self, stream: str) -> Partition:
        topic, partition = self._find_topic(stream).topic, int(stream.partition(":")[2])
        known = self.cluster.describe_topics([topic]).get(topic)
        if known is None or partition not in known.partitions:
            raise RetryableError(f"the topic {topic} or its partition {partition} does not exist any more")
        return Partition(topic, partition, known.id, *self.cluster.read_bounds(topic, partition))

    def _find_begin(self, place: Partition, cursor: Cursor | None, window: Window) -> int:
        if cursor is None:
            return self._find_offset(place, window.start) if window.start else place.first
        offset = int(cursor["offset"])
        if cursor["topic"] != place.id or offset > place.end:
            raise CursorExpiredError(RECREATED.format(place.topic))
        if offset < place.first:
            raise CursorExpiredError(EXPIRED.format(place.topic, place.first))
        return offset

    def _find_offset(self, place: Partition, time: datetime) -> int:
        offset = self.cluster.find_offset(place.topic, place.partition, time)
        return place.end if offset is None else min(offset, place.end)

    def _is_due(self, stream: str) -> bool:
        """Return whether an idle stream saves its state again, so that `last_success_at` stays fresh."""
        now = monotonic()
        due = now - self._idle.get(stream, 0.0) >= IDLE_SECONDS
        if due:
            self._idle[stream] = now
        return due

    def _create_record(self, stream: str, message: Message) -> Record | RejectedRecord | None:
        """Return the message as a record; None for a snapshot row without a `snapshot_map`."""
        assert message.value is not None
        position = str(message.offset)
        try:
            change = self._parse_change(stream, message)
        except RecordError as error:
            return RejectedRecord(message.value, len(message.value), position, error)
        if change.op == "r" and stream.partition(":")[0] not in self._snapshots:
            return None
        key, version, now = change.key_text, change.version, datetime.now(UTC)
        deleted = change.op == "d"
        return Record(stream, key, version, change._asdict(), message.value, position, now, message.time, deleted)

    def _parse_change(self, stream: str, message: Message) -> Change:
        key, value = (None if raw is None else self._decode(raw) for raw in (message.key, message.value))
        full = self._find_topic(stream).replica_identity == "full"
        return parse_change(key, value, unwrapped=self.settings.unwrapped, full=full)

    def _check_newest(self, feed: str, partition: int) -> str:
        """Return the error of the newest record of a partition, or an empty text."""
        place = self._find_partition(f"{feed}:{partition}")
        last = max(place.first, place.end - 1)
        try:
            for messages, _ in self.cluster.read_messages(place.topic, partition, last, place.end, 1):
                for message in messages:
                    if message.value is not None:
                        self._parse_change(feed, message)
        except RecordError as error:
            return error.detail
        return ""
