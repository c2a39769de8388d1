"""Database without a server for `tests/contract/test_connector_cases.py`: it pages the rows of a case like `database.py`.

`tests/live/test_sql.py` tests the queries on real servers.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from connectors.sql.connector import Connector
from connectors.sql.database import Clock, Database, Place, Row, format_time
from connectors.sql.settings import SqlSettings, SqlTable

NOW = datetime(2026, 4, 1, tzinfo=UTC)


class Rows(Database):
    """The rows of `rows.json` by table, each with the columns of the settings."""

    quote_mark = '"'

    def __init__(self, settings: SqlSettings, tables: dict[str, list[Row]]) -> None:
        super().__init__(settings)
        self.tables = tables

    def check(self) -> str:
        return "rows of a file"

    def read_clock(self) -> Clock:
        return Clock(NOW, NOW)

    def query(self, sql: str, values: Sequence[Any] = (), subject: str = "the database") -> Iterator[Row]:
        raise AssertionError("a case reads only pages and keys")

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def fetch_page(self, table: SqlTable, place: Place, before: datetime, size: int) -> list[Row]:
        rows = sorted(self.tables[table.table], key=lambda row: (row[table.changed], row[table.key]))
        after = [
            row
            for row in rows
            if _is_after(row[table.changed], row[table.key], place) and row[table.changed] < format_time(before)
        ]
        return [{name: row.get(name) for name in table.read} for row in after[:size]]

    def fetch_example(self, table: SqlTable) -> Any:
        return next((row[table.changed] for row in self.tables[table.table]), None)

    def fetch_keys(self, table: SqlTable) -> Iterator[Any]:
        return iter(sorted(row[table.key] for row in self.tables[table.table]))


def _is_after(at: str, key: Any, place: Place) -> bool:
    return not place.at or at > place.at or (at == place.at and (place.key is None or key > place.key))


def open_source(rows: Path) -> Connector:
    """Return the connector of a case's `source.yaml` with the rows of the case."""
    given = yaml.safe_load(rows.with_name("source.yaml").read_text(encoding="utf-8"))
    settings = SqlSettings.model_validate({**given, "password": "-"})
    return Connector(settings, Rows(settings, json.loads(rows.read_text(encoding="utf-8"))))
