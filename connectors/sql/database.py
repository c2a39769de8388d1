"""Interface of a database and the SQL that both kinds share; `postgresql.py` and `mariadb.py` implement it.

Values are texts, except for integers, booleans and parsed JSON. So dates outside of Python's calendar cause no error, and no
number is rounded. All times are UTC.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from connectors.contract import Window
from connectors.sql.settings import SqlSettings, SqlTable

Row = dict[str, Any]
TOO_SLOW = "{} takes longer than timeout_seconds: is there an index on the columns of `changed` and `key`?"


class Place(NamedTuple):
    """Begin of a page: after (`at`, `key`), or at `at` if `key` is None. Without `at` it is the first row."""

    at: str | None
    key: Any = None


class Clock(NamedTuple):
    """The database's time `now`, and the time `settled`: rows that are committed later have a time at or after it."""

    now: datetime
    settled: datetime


class Database(ABC):
    """One connection, opened on first use and again after a failure. Methods raise the errors of `connectors/errors.py`."""

    quote_mark: ClassVar[str]
    """The character that encloses a name."""
    transaction_clock: ClassVar[str]
    """Query for `now` and `settled` that considers open transactions."""
    plain_clock: ClassVar[str]
    """Query for `now` and `settled` that ignores open transactions."""

    def __init__(self, settings: SqlSettings) -> None:
        self.settings = settings

    @abstractmethod
    def check(self) -> str:
        """Return the server's version. Raises ConfigError if the settings wait for transactions that the user cannot see."""

    def read_clock(self) -> Clock:
        """Return the clock. Read it before a page: a row committed in between is then in the page or not settled.

        `settled` has whole seconds, because a column may have no fractions and a row may change twice in a second.
        """
        (row,) = self.query(self.transaction_clock if self.settings.wait_for_transactions else self.plain_clock)
        return Clock(_require_time(row["now"]), _require_time(row["settled"]).replace(microsecond=0))

    @abstractmethod
    def query(self, sql: str, values: Sequence[Any] = (), subject: str = "the database") -> Iterator[Row]:
        """Yield the rows of a query. An error text names `subject`, for example the table."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def fetch_page(self, table: SqlTable, place: Place, before: datetime, size: int) -> list[Row]:
        """Return at most `size` rows after `place` that changed before `before`, ordered by time and key."""
        changed, key = self.quote(table.changed), self.quote(table.key)
        where, values = [f"{changed} < %s"], [format_time(before)]
        if place.at is not None:
            where.append(f"{changed} >= %s")
            values.append(place.at)
        if place.at is not None and place.key is not None:
            where.append(f"({changed} > %s OR {key} > %s)")
            values += [place.at, place.key]
        columns = ", ".join(self.quote(column) for column in table.read)
        return list(
            self.query(f"{self._select(columns, table, where)} ORDER BY {changed}, {key} LIMIT {size}", values, table.table)
        )

    def count_rows(self, table: SqlTable, window: Window) -> int:
        """Return the number of rows that changed in the window."""
        changed = self.quote(table.changed)
        bounds = [(f"{changed} >= %s", window.start), (f"{changed} < %s", window.end)]
        given = [(bound, format_time(at)) for bound, at in bounds if at]
        where, values = [bound for bound, _ in given], [at for _, at in given]
        (row,) = self.query(self._select("count(*) AS n", table, where), values, table.table)
        return int(row["n"])

    def fetch_example(self, table: SqlTable) -> Any:
        """Return a value of `changed`, or None if there is none."""
        changed = self.quote(table.changed)
        rows = self.query(f"{self._select(changed, table, [f'{changed} IS NOT NULL'])} LIMIT 1", (), table.table)
        return next((row[table.changed] for row in list(rows)), None)

    def is_empty(self, table: SqlTable) -> bool:
        """Return whether the table has no row."""
        return not list(self.query(f"{self._select('1 AS n', table, [])} LIMIT 1", (), table.table))

    def fetch_keys(self, table: SqlTable) -> Iterator[Any]:
        """Yield all keys of the table from one query, in the database's order."""
        key = self.quote(table.key)
        rows = self.query(f"{self._select(key, table, [])} ORDER BY {key}", (), table.table)
        return (row[table.key] for row in rows)

    def quote(self, name: str) -> str:
        """Return a quoted name for a query with values."""
        return f"{self.quote_mark}{name.replace(self.quote_mark, 2 * self.quote_mark)}{self.quote_mark}".replace("%", "%%")

    def _select(self, columns: str, table: SqlTable, where: list[str]) -> str:
        place = ".".join(self.quote(part) for part in table.table.split("."))
        return f"SELECT {columns} FROM {place}" + (f" WHERE {' AND '.join(where)}" if where else "")  # noqa: S608 - names are quoted


def format_time(at: datetime) -> str:
    """Return a time in the form that both kinds parse in a UTC session."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _require_time(text: str) -> datetime:
    time = parse_time(text)
    assert time, "the clock query returns a time"
    return time


def parse_time(text: str | None) -> datetime | None:
    """Return the time that a database wrote, or None for a value outside of the calendar: infinity, zero dates."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
