"""A database for `tests/contract/test_connector_cases.py`: a case's rows, paged as `database.py` asks, without a server.

What servers do with the queries is tested on real ones, in `tests/live/test_sql.py`.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from connectors.sql.connector import Connector
from connectors.sql.database import Clock, Database, Place, Row, text
from connectors.sql.settings import SqlSettings, SqlTable

NOW = datetime(2026, 4, 1, tzinfo=UTC)


class Rows(Database):
    """The rows of `rows.json` by table, each in the columns that the settings ask for."""

    mark = '"'

    def __init__(self, settings: SqlSettings, tables: dict[str, list[Row]]) -> None:
        super().__init__(settings)
        self.tables = tables

    def check(self) -> str:
        return "rows of a file"

    def clock(self) -> Clock:
        return Clock(NOW, NOW)

    def rows(self, sql: str, values: Sequence[Any] = (), what: str = "the database") -> Iterator[Row]:
        raise AssertionError("a case asks for pages and keys alone")

    def close(self) -> None:
        """Nothing is open."""

    def page(self, table: SqlTable, place: Place, before: datetime, size: int) -> list[Row]:
        found = sorted(self.tables[table.table], key=lambda row: (row[table.changed], row[table.key]))
        after = [row for row in found if _after(row[table.changed], row[table.key], place) and row[table.changed] < text(before)]
        return [{name: row.get(name) for name in table.read} for row in after[:size]]

    def example(self, table: SqlTable) -> Any:
        return next((row[table.changed] for row in self.tables[table.table]), None)

    def keys(self, table: SqlTable) -> Iterator[Any]:
        return iter(sorted(row[table.key] for row in self.tables[table.table]))


def _after(at: str, key: Any, place: Place) -> bool:
    return not place.at or at > place.at or (at == place.at and (place.key is None or key > place.key))


def opened(rows: Path) -> Connector:
    """The connector of a case's `source.yaml` on its rows."""
    given = yaml.safe_load(rows.with_name("source.yaml").read_text(encoding="utf-8"))
    settings = SqlSettings.model_validate({**given, "password": "-"})
    return Connector(settings, Rows(settings, json.loads(rows.read_text(encoding="utf-8"))))
