"""What a table folder `sinks/tables/<name>` is, and how tables are found: there is no list to edit.

`table.py` declares

- TOPIC: the topic it reads;
- SCHEMAS: the schema names it takes; other records of the topic are another table's and are skipped, and counted as such;
- COLUMNS: the columns it fills;
- row(fields) -> tuple: the values of COLUMNS for one decoded record. Called once per record, pure (no clock, no randomness: a
  replay must give the same row), datetimes stay integers of milliseconds. It may raise RecordError to refuse the record;
- STORED: what its table is called where a migration replaced the first one; without it, as the folder.

Every table also has the columns of RECORD, which the runner fills: where on Kafka the row came from.
`migrations/` creates the table in `touchline_store`; `cases/*.json` are its tests (`tests/contract/test_sink_tables.py`).
"""

import importlib
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import schemas
from schemas.errors import ConfigError
from schemas.wire.codec import Fields

FOLDER = Path(__file__).parent / "tables"
RECORD = ("record_partition", "record_offset")
Row = tuple[Any, ...]


class Table(NamedTuple):
    """One table, `stored` in ClickHouse; `transform` names this version of all code that makes its rows or refuses them.

    Two versions never share a deduplication token: what one refused, the other may take.
    """

    name: str
    topic: str
    schemas: frozenset[str]
    columns: tuple[str, ...]
    row: Callable[[Fields], Row]
    transform: str
    stored: str

    @property
    def stage(self) -> str:
        """Its name in metrics, dead letters and, with a prefix, as a consumer group."""
        return f"sink_{self.name}"


@cache
def tables() -> dict[str, Table]:
    """Every table folder by name."""
    return {path.parent.name: _load(path) for path in sorted(FOLDER.glob("*/table.py"))}


def chosen(names: tuple[str, ...]) -> list[Table]:
    """The named tables, or all of them. Raises ConfigError for a name that has no folder."""
    unknown = sorted(set(names) - tables().keys())
    if unknown:
        raise ConfigError(f"there is no table {unknown[0]}; tables are {', '.join(tables())}")
    return [table for name, table in tables().items() if not names or name in names]


def _load(path: Path) -> Table:
    name = path.parent.name
    module = importlib.import_module(f"sinks.tables.{name}.table")
    return Table(
        name=name,
        topic=module.TOPIC,
        schemas=frozenset(module.SCHEMAS),
        columns=(*module.COLUMNS, *RECORD),
        row=module.row,
        transform=_version(path),
        stored=f"touchline_store.{getattr(module, 'STORED', name)}",
    )


def _version(table: Path) -> str:
    """A digest of the table's own file and of the code that all tables share: whatever can change a row."""
    return sha256(_shared() + table.read_bytes()).hexdigest()[:8]


@cache
def _shared() -> bytes:
    packages = (Path(schemas.__file__ or "").parent, Path(__file__).parent)
    files = [*packages[0].rglob("*.py"), *packages[0].rglob("*.avsc"), *packages[1].glob("*.py")]
    return b"".join(path.read_bytes() for path in sorted(files))
