"""Search of all stores for erased people: ClickHouse tables, and every topic from its first record."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from deploy.erase.queries import find_coarsely
from deploy.erase.spellings import Finder
from deploy.erase.stores import CLEARED, KEYED_IDS_ONLY, list_chunks
from deploy.erase.topics import Detector, Found, Record, TopicSearch, describe_retention
from deploy.kafka_clients import open_consumer
from deploy.rebuild.lag import open_admin
from deploy.rebuild.output import progress
from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import TOPICS
from sinks.clickhouse import ClickHouse

MAX_IDLE_POLLS = 30
MAX_POLL_RECORDS = 2_000
COLUMNS = "SELECT table, name, type FROM system.columns WHERE database = 'touchline_store' AND default_kind != 'ALIAS'"
VIEWS = "SELECT name FROM system.tables WHERE database = 'touchline_store' AND engine LIKE '%View'"
TEXT = re.compile(r"(Nullable\()?String\)?")


class Report(NamedTuple):
    """Result for one store: its name, the counts, and until when the records stay."""

    store: str
    found: Found
    until: str


class Columns(NamedTuple):
    """Columns of one table, as SQL expressions: texts, and conditions on ids with the placeholder `ids`."""

    texts: list[str]
    conditions: list[str]


def split_columns(columns: Sequence[tuple[str, str]]) -> Columns:
    """Return how to search the columns of a table, given as names and types."""
    found = Columns([], [])
    for name, kind in columns:
        column = f"`{name}`"
        if kind == "FixedString(16)":
            found.conditions.append(f"{column} IN ({{ids}})")
        elif kind == "Nullable(FixedString(16))":
            found.conditions.append(f"ifNull({column} IN ({{ids}}), 0)")
        elif kind == "Array(FixedString(16))":
            found.conditions.append(f"hasAny({column}, [{{ids}}])")
        elif kind == "UUID":
            found.conditions.append(f"UUIDToNum({column}) IN ({{ids}})")
        elif kind.startswith("Map(") and kind.endswith("String)"):
            found.texts.append(f"arrayStringConcat(mapValues({column}), '\\n')")
        elif kind == "Array(String)":
            found.texts.append(f"arrayStringConcat({column}, '\\n')")
        elif TEXT.fullmatch(kind):
            found.texts.append(f"ifNull(toString({column}), '')")
    return found


class TableSearch:
    """Search of the tables of `touchline_store`. Without a finder, only ids are searched."""

    def __init__(self, client: ClickHouse, finder: Finder | None, ids: Sequence[bytes]) -> None:
        self._client = client
        self._finder = finder
        self._ids = ids
        views = {name for (name,) in client.query(VIEWS).rows}
        self._columns: dict[str, list[tuple[str, str]]] = {}
        for table, name, kind in client.query(COLUMNS).rows:
            if table not in views:
                self._columns.setdefault(table, []).append((name, kind))

    @property
    def tables(self) -> list[str]:
        """Return the names of all tables."""
        return sorted(self._columns)

    def search(self, table: str) -> Report:
        """Return the rows of one table that name the person."""
        columns = split_columns(self._columns[table])
        keyed = self._count_ids(table, columns)
        clear = self._count_values(table, columns)
        faults = clear + (0 if table in KEYED_IDS_ONLY | CLEARED else keyed)
        until = "run the same erasure again" if faults else "for ever: keyed hashes only" if keyed else ""
        return Report(f"table {table}", Found(clear, keyed, faults), until)

    def _count_ids(self, table: str, columns: Columns) -> int:
        if not columns.conditions:
            return 0
        total = 0
        for ids in list_chunks(self._ids):
            condition = " OR ".join(each.format(ids=ids) for each in columns.conditions)
            sql = f"SELECT count() FROM touchline_store.{table} WHERE {condition}"  # noqa: S608
            total += self._client.query(sql).rows[0][0]
        return total

    def _count_values(self, table: str, columns: Columns) -> int:
        finder = self._finder
        if finder is None or not columns.texts:
            return 0
        condition = " OR ".join(find_coarsely(each, finder, ()) for each in columns.texts)
        sql = (
            f"SELECT {', '.join(columns.texts)} FROM touchline_store.{table} WHERE {condition}"  # noqa: S608
            " SETTINGS max_block_size = 64"
        )
        return sum(any(map(finder.has_value, row)) for row in self._client.stream(sql))


def search_all(
    settings: KafkaSettings, client: ClickHouse, finder: Finder | None, ids: Sequence[bytes], detector: Detector
) -> list[Report]:
    """Search all tables and topics with progress bars. Without a finder, `detector` recognises people by their ids."""
    tables = TableSearch(client, finder, ids)
    reports = []
    with progress("tables searched:", len(tables.tables)) as advance:
        for table in tables.tables:
            reports.append(tables.search(table))
            advance(1)
    with progress("records searched:", count_records(settings)) as advance:
        reports += search_topics(settings, detector, advance)
    return reports


def count_records(settings: KafkaSettings) -> int:
    """Return the number of records on all topics; compacted topics have fewer."""
    with open_consumer(settings, "touchline-erase", max_poll_records=MAX_POLL_RECORDS) as consumer:
        bounds = [each for topic in TOPICS for each in _bounds(consumer, topic.name, topic.partitions).values()]
    return sum(end - begin for begin, end in bounds)


def search_topics(settings: KafkaSettings, detector: Detector, advance: Callable[[int], None]) -> Iterator[Report]:
    """Yield the result of each topic. `advance` gets the number of offsets that were read."""
    options = read_options(settings)
    with open_consumer(settings, "touchline-erase", max_poll_records=MAX_POLL_RECORDS) as consumer:
        for topic in TOPICS:
            search = TopicSearch(topic.name, detector, is_compacted=topic.compacted)
            for records, offsets in _read(consumer, topic.name, topic.partitions):
                for record in records:
                    search.add(record)
                advance(offsets)
            found = search.found
            until = describe_retention(options.get(topic.name, {}), found) if found.clear or found.keyed else ""
            yield Report(f"topic {topic.name}", found, until)


def read_options(settings: KafkaSettings) -> dict[str, dict[str, str]]:
    """Return the options of each topic by name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in TOPICS]
    with open_admin(settings) as admin:
        described = admin.describe_configs(resources, config_filter="all")
    return {name: {option: _value(entry) for option, entry in entries.items()} for name, entries in described["topic"].items()}


def _bounds(consumer: Any, topic: str, partitions: int) -> dict[TopicPartition, tuple[int, int]]:
    wanted = [TopicPartition(topic, number) for number in range(partitions)]
    begins, ends = consumer.beginning_offsets(wanted), consumer.end_offsets(wanted)
    return {each: (begins[each], ends[each]) for each in wanted}


def _read(consumer: Any, topic: str, partitions: int) -> Iterator[tuple[list[Record], int]]:
    """Yield the records of a topic up to its end at the time of the call, and how far the offsets advanced."""
    bounds = _bounds(consumer, topic, partitions)
    consumer.assign(list(bounds))
    for partition, (begin, _) in bounds.items():
        consumer.seek(partition, begin)
    position = sum(begin for begin, _ in bounds.values())
    idle = 0
    while any(consumer.position(partition) < end for partition, (_, end) in bounds.items()):
        polled = consumer.poll(timeout_ms=1_000)
        idle = 0 if polled else idle + 1
        if idle > MAX_IDLE_POLLS:
            raise RetryableError(f"Kafka sent no record of {topic} for {MAX_IDLE_POLLS} s: is the broker overloaded? Try again")
        records = [Record(one.partition, one.key, one.value) for each in polled.values() for one in each]
        now = sum(min(consumer.position(partition), end) for partition, (_, end) in bounds.items())
        yield records, now - position
        position = now


def _value(entry: Any) -> str:
    return str(entry["value"] if isinstance(entry, dict) else entry)
