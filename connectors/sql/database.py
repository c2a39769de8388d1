"""What the connector asks a database, and the SQL that both kinds share; `postgresql.py` and `mariadb.py` are the edges.

Every value arrives as text but for integers, booleans and parsed JSON: no date that Python's calendar lacks and no
rounding can come between a row and its mapping. All times are UTC.
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
    """Where a page begins: after (`at`, `key`), or at `at` itself where `key` is None. No `at` is the beginning."""

    at: str | None
    key: Any = None


class Clock(NamedTuple):
    """The database's time, and until when its rows are settled: what will still be committed has changed at or after it."""

    now: datetime
    settled: datetime


class Database(ABC):
    """One connection, opened when needed and again after a failure. All methods raise the errors of `connectors/errors.py`."""

    mark: ClassVar[str]
    """What encloses a name."""
    clock_waiting: ClassVar[str]
    clock_alone: ClassVar[str]
    """The query for `now` and `settled`, with open transactions and without."""

    def __init__(self, settings: SqlSettings) -> None:
        self.settings = settings

    @abstractmethod
    def check(self) -> str:
        """Which database it is. Raises ConfigError where open transactions are to be waited for and cannot be seen."""

    def clock(self) -> Clock:
        """Now. To be asked before a page: what commits between the two is then either in the page or not settled.

        Whole seconds are settled, because a column may hold no more: a row may change twice in one.
        """
        (found,) = self.rows(self.clock_waiting if self.settings.wait_for_transactions else self.clock_alone)
        return Clock(_known(found["now"]), _known(found["settled"]).replace(microsecond=0))

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = (), what: str = "the database") -> Iterator[Row]:
        """The rows of a query, as they come. `what` is asked for them, in the text of an error."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def page(self, table: SqlTable, place: Place, before: datetime, size: int) -> list[Row]:
        """At most `size` rows after `place` that changed before `before`, in the order of time and key."""
        changed, key = self.name(table.changed), self.name(table.key)
        where, values = [f"{changed} < %s"], [text(before)]
        if place.at is not None:
            where.append(f"{changed} >= %s")
            values.append(place.at)
        if place.at is not None and place.key is not None:
            where.append(f"({changed} > %s OR {key} > %s)")
            values += [place.at, place.key]
        columns = ", ".join(self.name(column) for column in table.read)
        return list(self.rows(f"{self._from(columns, table, where)} ORDER BY {changed}, {key} LIMIT {size}", values, table.table))

    def count(self, table: SqlTable, window: Window) -> int:
        """The rows that changed in the window."""
        changed = self.name(table.changed)
        bounds = [(f"{changed} >= %s", window.start), (f"{changed} < %s", window.end)]
        given = [(bound, text(at)) for bound, at in bounds if at]
        where, values = [bound for bound, _ in given], [at for _, at in given]
        (row,) = self.rows(self._from("count(*) AS n", table, where), values, table.table)
        return int(row["n"])

    def example(self, table: SqlTable) -> Any:
        """A value of `changed`; None where there is none."""
        changed = self.name(table.changed)
        found = self.rows(f"{self._from(changed, table, [f'{changed} IS NOT NULL'])} LIMIT 1", (), table.table)
        return next((row[table.changed] for row in list(found)), None)

    def empty(self, table: SqlTable) -> bool:
        """Whether the table has no row at all."""
        return not list(self.rows(f"{self._from('1 AS n', table, [])} LIMIT 1", (), table.table))

    def keys(self, table: SqlTable) -> Iterator[Any]:
        """Every key of the table, as one query sees them, in the database's order."""
        key = self.name(table.key)
        rows = self.rows(f"{self._from(key, table, [])} ORDER BY {key}", (), table.table)
        return (row[table.key] for row in rows)

    def name(self, name: str) -> str:
        """A name as it stands in a query with values."""
        return f"{self.mark}{name.replace(self.mark, 2 * self.mark)}{self.mark}".replace("%", "%%")

    def _from(self, what: str, table: SqlTable, where: list[str]) -> str:
        place = ".".join(self.name(part) for part in table.table.split("."))
        return f"SELECT {what} FROM {place}" + (f" WHERE {' AND '.join(where)}" if where else "")  # noqa: S608 - names are quoted


def text(at: datetime) -> str:
    """A time as both kinds read it in a session of UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _known(said: str) -> datetime:
    found = moment(said)
    assert found, "a clock tells a time"
    return found


def moment(said: str | None) -> datetime | None:
    """The time that a database has written; None for what no calendar has: infinity, zero dates."""
    try:
        found = datetime.fromisoformat(said or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
