"""Tables of PostgreSQL and MariaDB, read by the time of their rows' last change.

Guarantee: at least once, exact by event id, for each state of a row that is there when it is read. No row is passed that an open
transaction may still bring. Deletes: by a column that marks them, or by comparing the table's keys from time to time.
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
from connectors.sql.database import Database, Place, Row, moment, text
from connectors.sql.settings import SqlSettings, SqlTable
from schemas.errors import ConfigError, RetryableError
from schemas.records.touchpoint import Touchpoint

GONE = ".gone"
HELD_BACK = timedelta(minutes=5)
TOO_MANY_KEYS = "{}: its keys are too many to be remembered: mark deletes in a column (`deleted`), or leave `gone` out"
EMPTY = "{}: its table has become empty, which is no reason to call everything deleted: is it being loaded anew?"
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
NUMBER = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
DAYS = (
    "tables.{}.changed: {} holds days alone, and of two changes on one day the second would be lost: name a timestamp or datetime"
)
NUMBERS = (
    "tables.{}.changed: {} holds numbers, and no times: name a timestamp or datetime,"
    " if need be of a view that makes one of it (to_timestamp() in PostgreSQL, from_unixtime() in MariaDB)"
)
log = logging.getLogger(__name__)


class Connector:
    """One database. Cursor of a table: {at, key, done}; of `<table>.gone`: {at, keys}, the keys that were there at that time."""

    settings_model: ClassVar[type[BaseModel]] = SqlSettings

    def __init__(self, settings: SqlSettings, database: Database | None = None) -> None:
        self.settings = settings
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.database = database or _database(settings)
        self._known_times: set[str] = set()
        self._mappings = {stream: RecordMapping(settings.name, stream, _mapping(settings, stream)) for stream in self._streams()}

    def check(self) -> str:
        """Which database it is, and what its newest rows say. Raises ConfigError with what to change."""
        said = self.database.check()
        now = self.database.clock().now
        for name, table in self.settings.tables.items():
            self._timed(name, table)
            found = self.database.page(table, Place(None), now, 1)
            if self.database.count(table, Window(now + timedelta(minutes=30))):
                said += f"; {name} has rows that changed in the future, which wait: is {table.changed} in local time?"
            elif not found and not self.database.empty(table):
                said += f"; {name} has rows, but none to be read by its time: is {table.changed} null, or no time?"
        return f"{said}; reads {', '.join(self.settings.tables)}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Every table, and the keys of those that are compared and due."""
        for stream in self._streams():
            cursor = saved.get(stream)
            if not stream.endswith(GONE) or cursor is None or self._due(stream, cursor):
                yield stream

    def describe_stream(self, stream: str) -> StreamSpec:
        """As the settings say."""
        return self._mappings[stream].spec

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The rows changed since, oldest first; or the keys that are gone since."""
        return self._gone(stream, cursor) if stream.endswith(GONE) else self._rows(stream, cursor, window)

    def map_record(self, record: Record) -> Touchpoint:
        """The row mapped. Raises RecordError."""
        return self._mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int:
        """The database's own count."""
        return self.database.count(self._table(stream), window)

    def close(self) -> None:
        """Close the connection."""
        self.database.close()

    def _streams(self) -> list[str]:
        compared = [name + GONE for name, table in self.settings.tables.items() if table.gone]
        return [*self.settings.tables, *compared]

    def _table(self, stream: str) -> SqlTable:
        return self.settings.tables[stream.removesuffix(GONE)]

    def _rows(self, stream: str, cursor: Cursor | None, window: Window) -> Iterator[Batch]:
        table, size = self._table(stream), self.settings.page
        self._timed(stream, table)
        place, more = self._begin(cursor, window), True
        while more:
            self.rate_limit.acquire()
            clock = self.database.clock()  # before the page, as `clock` says
            end = min(clock.settled, window.end) if window.end else clock.settled
            rows = self.database.page(table, place, end, size)
            more = len(rows) == size
            _distinct(rows, stream, table)
            if rows:
                place = Place(rows[-1][table.changed], rows[-1][table.key])
            records = self._mappings[stream].create_records(rows, datetime.now(UTC))
            at = moment(place.at)
            share = window.progress_at(at, end) if at and more else 1.0
            yield Batch(records, {**place._asdict(), "done": not more}, progress=share)
        if clock.now - clock.settled > HELD_BACK:
            log.warning("%s: %s: a transaction open since %s holds back newer rows", self.name, stream, clock.settled)

    def _timed(self, name: str, table: SqlTable) -> None:
        """Look once at what `changed` holds. Raises ConfigError where it is no time, or a day."""
        if name in self._known_times:
            return
        value = str(self.database.example(table) or "")
        for wrong, said in ((DAY, DAYS), (NUMBER, NUMBERS)):
            if wrong.fullmatch(value):
                raise ConfigError(said.format(name, table.changed))
        if value:
            self._known_times.add(name)

    def _begin(self, cursor: Cursor | None, window: Window) -> Place:
        if cursor is not None and not (cursor["done"] and self.settings.late_seconds):
            return Place(cursor["at"], cursor["key"])
        newest = moment(cursor["at"]) if cursor else None
        late = newest - timedelta(seconds=self.settings.late_seconds) if newest else None
        first = max((at for at in (late, window.start) if at), default=None)
        return Place(text(first) if first else None)

    def _due(self, stream: str, cursor: Cursor) -> bool:
        compared, before = self._table(stream).gone, moment(cursor["at"])
        assert compared
        assert before
        return datetime.now(UTC) - before >= timedelta(seconds=compared.every_seconds)

    def _gone(self, stream: str, cursor: Cursor | None) -> Iterator[Batch]:
        """What was there at the cursor and is no more. Its version is the cursor's time: read again, it is the same event."""
        table = self._table(stream)
        self.rate_limit.acquire()
        now = self.database.clock().now.isoformat()
        there = build_key_set(self.database.keys(table))
        if cursor and there.is_empty():
            raise RetryableError(EMPTY.format(stream))
        since = cursor["at"] if cursor else now
        for missing, after in find_missing_keys(there, cursor, now, self.settings.page):
            if after is None:
                raise ConfigError(TOO_MANY_KEYS.format(stream))
            rows = [{table.key: key, "gone_at": now, "since": since} for key in missing]
            yield Batch(self._mappings[stream].create_records(rows, datetime.now(UTC)), after, progress=float(not missing))


def _distinct(rows: list[Row], stream: str, table: SqlTable) -> None:
    """Raises ConfigError where rows of one time have one key: at the end of a page one of them would be passed over."""
    for before, row in pairwise((row[table.changed], row[table.key]) for row in rows):
        if before == row:
            raise ConfigError(
                f"tables.{stream}.key: two rows of {row[0]} have the same {table.key}: name a column that is unique"
            )


def _database(settings: SqlSettings) -> Database:
    try:
        if urlsplit(settings.url).scheme == "postgresql":
            from connectors.sql.postgresql import PostgreSQL

            return PostgreSQL(settings)
        from connectors.sql.mariadb import MariaDB

        return MariaDB(settings)
    except ImportError as error:
        raise ConfigError(f"the driver {error.name} is not installed: pip install 'psycopg[binary]' pymysql") from None


def _mapping(settings: SqlSettings, stream: str) -> StreamMapping:
    table = settings.tables[stream.removesuffix(GONE)]
    key, changed = f"id({json.dumps(table.key)})", json.dumps(table.changed)
    own = {"source": table.source, "system": table.system, "key": key}
    if stream.endswith(GONE) and table.gone:
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
