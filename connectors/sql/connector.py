"""Connector that reads tables of PostgreSQL and MariaDB by the time of their rows' last change.

Guarantee: at least once for each state of a row that is stored when a round reads it; repeated reads have the same event id.
Rows of transactions that are still open are not skipped. Deletes: by a column with a mark, or by comparing the table's keys.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, StreamSpec, Window
from connectors.http.key_set import build_key_set, find_missing_keys
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import RecordMapping, StreamMapping
from connectors.sql.database import Database, Place, Row, format_time, parse_time
from connectors.sql.settings import SqlSettings, SqlTable
from schemas.errors import ConfigError, RetryableError
from schemas.records.touchpoint import Touchpoint

GONE_SUFFIX = ".gone"
MAX_HOLD_BACK = timedelta(minutes=5)
TOO_MANY_KEYS = "{}: the table has more keys than a cursor holds: mark deletes in a column (`deleted`), or remove `gone`"
EMPTY = "{}: the table has become empty; its rows do not count as deleted: is it being reloaded?"
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
NUMBER = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
DAYS = (
    "tables.{}.changed: {} holds dates without a time, so the second change of a day would be lost: name a timestamp or datetime"
)
NUMBERS = (
    "tables.{}.changed: {} holds numbers: name a timestamp or datetime,"
    " for example of a view that converts them (to_timestamp() in PostgreSQL, from_unixtime() in MariaDB)"
)
log = logging.getLogger(__name__)


class Connector:
    """One database. Cursor of a table: {at, key, done}. Cursor of `<table>.gone`: {at, keys}, the keys at that time."""

    settings_model: ClassVar[type[BaseModel]] = SqlSettings

    def __init__(self, settings: SqlSettings, database: Database | None = None) -> None:
        self.settings = settings
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.database = database or _create_database(settings)
        self._known_times: set[str] = set()
        self._mappings = {
            stream: RecordMapping(settings.name, stream, _create_mapping(settings, stream)) for stream in self._list_streams()
        }

    def check(self) -> str:
        """Return the server's version and warnings about the tables. Raises ConfigError with the setting to change."""
        result = self.database.check()
        now = self.database.read_clock().now
        for name, table in self.settings.tables.items():
            self._check_changed(name, table)
            rows = self.database.fetch_page(table, Place(None), now, 1)
            if self.database.count_rows(table, Window(now + timedelta(minutes=30))):
                result += f"; {name} has rows that changed in the future, which have to wait: is {table.changed} in local time?"
            elif not rows and not self.database.is_empty(table):
                result += f"; {name} has rows, but none with a readable time: is {table.changed} null, or not a time?"
        return f"{result}; reads {', '.join(self.settings.tables)}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Yield each table, and `<table>.gone` if its keys are due for a comparison."""
        for stream in self._list_streams():
            cursor = saved.get(stream)
            if not stream.endswith(GONE_SUFFIX) or cursor is None or self._is_due(stream, cursor):
                yield stream

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties that the settings define."""
        return self._mappings[stream].spec

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the rows changed after the cursor, oldest first, or the keys deleted since the cursor."""
        return self._read_deleted(stream, cursor) if stream.endswith(GONE_SUFFIX) else self._read_changed(stream, cursor, window)

    def map_record(self, record: Record) -> Touchpoint:
        """Map the row. Raises RecordError."""
        return self._mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int:
        """Return the database's own count."""
        return self.database.count_rows(self._find_table(stream), window)

    def close(self) -> None:
        """Close the connection."""
        self.database.close()

    def _list_streams(self) -> list[str]:
        compared = [name + GONE_SUFFIX for name, table in self.settings.tables.items() if table.gone]
        return [*self.settings.tables, *compared]

    def _find_table(self, stream: str) -> SqlTable:
        return self.settings.tables[stream.removesuffix(GONE_SUFFIX)]

    def _read_changed(self, stream: str, cursor: Cursor | None, window: Window) -> Iterator[Batch]:
        table, size = self._find_table(stream), self.settings.page
        self._check_changed(stream, table)
        place, more = self._find_begin(cursor, window), True
        while more:
            self.rate_limit.acquire()
            clock = self.database.read_clock()  # before the page, see `read_clock`
            end = min(clock.settled, window.end) if window.end else clock.settled
            rows = self.database.fetch_page(table, place, end, size)
            more = len(rows) == size
            _check_unique(rows, stream, table)
            if rows:
                place = Place(rows[-1][table.changed], rows[-1][table.key])
            records = self._mappings[stream].create_records(rows, datetime.now(UTC))
            at = parse_time(place.at)
            share = window.progress_at(at, end) if at and more else 1.0
            yield Batch(records, {**place._asdict(), "done": not more}, progress=share)
        if clock.now - clock.settled > MAX_HOLD_BACK:
            log.warning("%s: %s: a transaction that is open since %s holds back newer rows", self.name, stream, clock.settled)

    def _check_changed(self, name: str, table: SqlTable) -> None:
        """Check once the type of `changed`. Raises ConfigError if it is not a time, or a date without a time."""
        if name in self._known_times:
            return
        value = str(self.database.fetch_example(table) or "")
        for pattern, message in ((DAY, DAYS), (NUMBER, NUMBERS)):
            if pattern.fullmatch(value):
                raise ConfigError(message.format(name, table.changed))
        if value:
            self._known_times.add(name)

    def _find_begin(self, cursor: Cursor | None, window: Window) -> Place:
        if cursor is not None and not (cursor["done"] and self.settings.late_seconds):
            return Place(cursor["at"], cursor["key"])
        newest = parse_time(cursor["at"]) if cursor else None
        late = newest - timedelta(seconds=self.settings.late_seconds) if newest else None
        first = max((at for at in (late, window.start) if at), default=None)
        return Place(format_time(first) if first else None)

    def _is_due(self, stream: str, cursor: Cursor) -> bool:
        compared, before = self._find_table(stream).gone, parse_time(cursor["at"])
        assert compared
        assert before
        return datetime.now(UTC) - before >= timedelta(seconds=compared.every_seconds)

    def _read_deleted(self, stream: str, cursor: Cursor | None) -> Iterator[Batch]:
        """Yield the keys deleted since the cursor. The cursor's time is their version, so a repeated read is the same event."""
        table = self._find_table(stream)
        self.rate_limit.acquire()
        now = self.database.read_clock().now.isoformat()
        current = build_key_set(self.database.fetch_keys(table))
        if cursor and current.is_empty():
            raise RetryableError(EMPTY.format(stream))
        since = cursor["at"] if cursor else now
        for missing, after in find_missing_keys(current, cursor, now, self.settings.page):
            if after is None:
                raise ConfigError(TOO_MANY_KEYS.format(stream))
            rows = [{table.key: key, "gone_at": now, "since": since} for key in missing]
            yield Batch(self._mappings[stream].create_records(rows, datetime.now(UTC)), after, progress=float(not missing))


def _check_unique(rows: list[Row], stream: str, table: SqlTable) -> None:
    """Raise ConfigError if rows of one time have the same key: paging would skip one of them at the end of a page."""
    for before, row in pairwise((row[table.changed], row[table.key]) for row in rows):
        if before == row:
            raise ConfigError(f"tables.{stream}.key: two rows of {row[0]} have the same {table.key}: name a unique column")


def _create_database(settings: SqlSettings) -> Database:
    try:
        if urlsplit(settings.url).scheme == "postgresql":
            from connectors.sql.postgresql import PostgreSQL

            return PostgreSQL(settings)
        from connectors.sql.mariadb import MariaDB

        return MariaDB(settings)
    except ImportError as error:
        raise ConfigError(f"the driver {error.name} is not installed: pip install 'psycopg[binary]' pymysql") from None


def _create_mapping(settings: SqlSettings, stream: str) -> StreamMapping:
    table = settings.tables[stream.removesuffix(GONE_SUFFIX)]
    key, changed = f"id({json.dumps(table.key)})", json.dumps(table.changed)
    own = {"source": table.source, "system": table.system, "key": key, **table.identifier_settings()}
    if stream.endswith(GONE_SUFFIX) and table.gone:
        columns = [table.key, "gone_at", "since"]
        return StreamMapping(**own, columns=columns, version="since", deleted="`true`", map=table.gone.map)
    return StreamMapping(
        **own,
        columns=table.read,
        version=f"id({changed})",
        time=f"iso({changed}, 'UTC')",
        late_seconds=settings.late_seconds,
        deleted=table.deleted,
        snapshot=table.snapshot,
        map=table.map,
    )
