"""Bring ClickHouse to the tables and views of this software.

1. Databases `touchline_store` (tables) and `touchline` (views), and the table that remembers what was applied.
2. Migrations: numbered files `sinks/tables/<name>/migrations/0001_*.sql`, applied in order, each once, never changed afterwards.
3. Views: every file of `sinks/views`, replaced each time, those that others read first.

Every statement is written to be harmless when it runs twice (`IF NOT EXISTS`, `OR REPLACE`): that is what makes a crash between a
statement and its record, and two migrations at the same time, safe.
"""

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigError
from sinks.clickhouse import ClickHouse

TABLES = Path(__file__).parent / "tables"
VIEWS = Path(__file__).parent / "views"
HISTORY = """
CREATE TABLE IF NOT EXISTS touchline_store.migrations
(
    name String COMMENT 'table/number_what, the file it came from',
    checksum FixedString(64) COMMENT 'SHA-256 of the file, hexadecimal',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was applied, UTC'
)
ENGINE = ReplacingMergeTree ORDER BY name
COMMENT 'Migrations applied to touchline_store; kept for ever'
"""
PREPARE = (
    "CREATE DATABASE IF NOT EXISTS touchline_store COMMENT 'Physical tables, written by the sinks'",
    "CREATE DATABASE IF NOT EXISTS touchline COMMENT 'Views for analysts: each thing once, merges followed'",
    HISTORY,
)


class Script(NamedTuple):
    """One SQL file: `table/0001_what` of a migration, or the bare name of a view."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What tells a changed file from the applied one."""
        return sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements of the file: each ends with a semicolon at the end of a line."""
        return [part.strip() for part in re.split(r";\s*$", self.sql, flags=re.MULTILINE) if part.strip()]


class Step(NamedTuple):
    """One line of what was (or would be) done: `kind` is migration or view, `action` is apply, replace or none."""

    kind: str
    name: str
    action: str


def migrations(folder: Path = TABLES) -> list[Script]:
    """The migrations of all tables, by table and number. Raises ConfigError where the numbers have a gap."""
    found = []
    for table in sorted(path.parent for path in folder.glob("*/migrations")):
        files = sorted((table / "migrations").glob("*.sql"))
        for number, path in enumerate(files, start=1):
            if not re.fullmatch(rf"{number:04d}_[a-z0-9_]+", path.stem):
                raise ConfigError(f"{table.name}/migrations/{path.name} must be called {number:04d}_<what>.sql")
            found.append(Script(f"{table.name}/{path.stem}", path.read_text(encoding="utf-8")))
    return found


def views(folder: Path = VIEWS) -> list[Script]:
    """The views, each after those it reads."""
    found = {path.stem: Script(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))}
    reads = {
        name: {other for other in re.findall(r"touchline\.(\w+)", script.sql) if other != name} for name, script in found.items()
    }
    return [found[name] for name in TopologicalSorter(reads).static_order()]


def pending(found: list[Script], applied: dict[str, str]) -> list[Script]:
    """The migrations still to apply. Raises ConfigError for one that was changed or is missing after it was applied."""
    missing = applied.keys() - {script.name for script in found}
    if missing:
        raise ConfigError(
            f"ClickHouse has migration {min(missing)}, which this software does not:"
            " it was migrated by a newer version, use that one"
        )
    for script in found:
        if applied.get(script.name, script.checksum) != script.checksum:
            raise ConfigError(
                f"migration {script.name} was changed after it was applied: put the file back and add a new number beside it"
            )
    return [script for script in found if script.name not in applied]


def migrate(client: ClickHouse, *, dry_run: bool) -> Iterator[Step]:
    """Do the three steps of this module and report each one; with `dry_run` only report."""
    found = migrations()
    waiting = {script.name for script in pending(found, _applied(client))}
    if not dry_run:
        for statement in PREPARE:
            client.execute(statement)
    for script in found:
        if script.name in waiting and not dry_run:
            _apply(client, script)
        yield Step("migration", script.name, "apply" if script.name in waiting else "none")
    for view in views():
        if not dry_run:
            for statement in view.statements:
                client.execute(statement)
        yield Step("view", view.name, "replace")


def _applied(client: ClickHouse) -> dict[str, str]:
    known = client.query("SELECT count() FROM system.tables WHERE database = 'touchline_store' AND name = 'migrations'")
    if not known.rows[0][0]:
        return {}
    return dict(client.query("SELECT name, toString(checksum) FROM touchline_store.migrations FINAL").rows)


def _apply(client: ClickHouse, script: Script) -> None:
    for statement in script.statements:
        client.execute(statement)
    client.insert("touchline_store.migrations", ("name", "checksum"), [[script.name], [script.checksum]], script.name)
