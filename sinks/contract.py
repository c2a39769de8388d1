"""Tables of the sinks: one folder `sinks/tables/<name>` each, discovered by name.

`table.py` declares

- TOPIC: the topic it reads;
- SCHEMAS: the schema names it takes; the sink skips and counts other records of the topic;
- COLUMNS: the columns it fills;
- row(fields) -> tuple: the values of COLUMNS for one decoded record. The sink calls it once per record. It is pure (no clock, no
  randomness), because a replay must give the same row; times stay integers of milliseconds. RecordError refuses the record;
- NESTED (optional): names of the schemas of records that its records carry as bytes;
- STORED (optional): the name of its ClickHouse table where a migration replaced the first one, else the name of the folder.

The runner adds the columns of RECORD: the Kafka position of the record. `migrations/` creates the table in `touchline_store`;
`cases/*.json` are its tests (`tests/contract/test_sink_tables.py`).
"""

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import ConfigError
from schemas.wire.codec import Fields
from sinks.versions import row_version

FOLDER = Path(__file__).parent / "tables"
RECORD = ("record_partition", "record_offset")
Row = tuple[Any, ...]


class Table(NamedTuple):
    """One table, `stored` in ClickHouse; `version` names the code and schemas that make its rows or refuse its records.

    Two versions never share a deduplication token: the new one may take a record that the old one refused.
    """

    name: str
    topic: str
    schemas: frozenset[str]
    columns: tuple[str, ...]
    row: Callable[[Fields], Row]
    version: str
    stored: str

    @property
    def stage(self) -> str:
        """Return the name of the stage in metrics and dead letters."""
        return f"sink_{self.name}"


@cache
def load_tables() -> dict[str, Table]:
    """Return every table by name."""
    return {path.parent.name: _load(path.parent.name) for path in sorted(FOLDER.glob("*/table.py"))}


def select_tables(names: tuple[str, ...]) -> list[Table]:
    """Return the named tables, or all of them. Raises ConfigError for a name that has no folder."""
    unknown = sorted(set(names) - load_tables().keys())
    if unknown:
        raise ConfigError(f"there is no table {unknown[0]}; tables are {', '.join(load_tables())}")
    return [table for name, table in load_tables().items() if not names or name in names]


def _load(name: str) -> Table:
    module = importlib.import_module(f"sinks.tables.{name}.table")
    schemas = frozenset(module.SCHEMAS)
    return Table(
        name=name,
        topic=module.TOPIC,
        schemas=schemas,
        columns=(*module.COLUMNS, *RECORD),
        row=module.row,
        version=row_version(module.__name__, ("COLUMNS", "SCHEMAS", "row"), schemas | getattr(module, "NESTED", frozenset())),
        stored=f"touchline_store.{getattr(module, 'STORED', name)}",
    )
