"""Migrate ClickHouse to the tables, rights and views of this software.

1. Create the databases `touchline_store` (tables), `touchline` (views), `touchline_unmasked`, and the table of applied
   migrations.
2. Create roles and rights (`sinks/rights/roles.sql`) if the server stores users by SQL; otherwise check those of its
   configuration.
3. Apply new migrations: numbered files `sinks/tables/<name>/migrations/0001_*.sql`, in order, each once, never changed
   afterwards.
4. Replace all views of `sinks/views`, each after those that it reads.

A second migration waits for the first. Each statement is harmless when it runs twice (`IF NOT EXISTS`, `OR REPLACE`), so a
crash between a statement and its record is safe. On a cluster, `cluster.py` transforms the same statements.
"""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

from schemas.errors import ConfigError
from sinks import cluster as cluster_form
from sinks.clickhouse import ClickHouse
from sinks.rights.masks import add_definer, find_open_columns, secure_view
from sinks.scripts import Script, load_migrations, load_views, role_statements, view_statements

LOCK = "touchline-migrate"
HISTORY = """CREATE TABLE IF NOT EXISTS touchline_store.migrations
(
    name String COMMENT 'the file of the migration: table/number_change',
    checksum FixedString(64) COMMENT 'SHA-256 of the file, hexadecimal',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was applied, UTC'
)
ENGINE = ReplacingMergeTree ORDER BY name
COMMENT 'Migrations applied to touchline_store; kept for ever'"""
DATABASES = (
    "CREATE DATABASE IF NOT EXISTS touchline_store COMMENT 'Physical tables, written by the sinks'",
    "CREATE DATABASE IF NOT EXISTS touchline COMMENT 'Views for analysts, without duplicates, with merges followed'",
    "CREATE DATABASE IF NOT EXISTS touchline_unmasked COMMENT 'Views with personal data in clear, for the role touchline_pii'",
)
GRANTS_QUERY = """SELECT ifNull(table, ''), ifNull(column, '') FROM system.grants
WHERE role_name = 'touchline_analyst' AND database = 'touchline_unmasked' AND NOT is_partial_revoke"""
ADVICE = (
    "restart a local stack with `touchline down` and `touchline up`; give another server the roles and users of"
    " .touchline/clickhouse/users.xml of a local stack"
)
WRITABLE = "'local_directory', 'replicated', 'memory'"


class Step(NamedTuple):
    """One step of a migration: `kind` is database, migration, rights or view; `action` is ensure, apply, replace or none."""

    kind: str
    name: str
    action: str
    statements: list[str]


def find_pending(found: list[Script], applied: dict[str, str]) -> list[Script]:
    """Return the migrations to apply. Raises ConfigError for one that was changed or is missing after it was applied."""
    missing = applied.keys() - {script.name for script in found}
    if missing:
        raise ConfigError(
            f"ClickHouse has migration {min(missing)}, which this software lacks:"
            " it was migrated by a newer version, use that version"
        )
    for script in found:
        if applied.get(script.name, script.checksum) != script.checksum:
            raise ConfigError(
                f"migration {script.name} was changed after it was applied:"
                " put the file back and add a new file with the next number"
            )
    return [script for script in found if script.name not in applied]


def migrate(client: ClickHouse, *, cluster: str, dry_run: bool) -> Iterator[Step]:
    """Run the four steps of this module and yield each one; with `dry_run` only yield them.

    Raises ConfigError if migrations differ or rights are missing, UnavailableError while another migration runs.
    """
    with nullcontext() if dry_run else client.hold_lock(LOCK):
        for step in plan(_read_applied(client), has_sql_users=_check_rights(client), cluster=cluster):
            if not dry_run:
                for statement in step.statements:
                    client.execute(statement)
            yield step


def plan(applied: dict[str, str], *, has_sql_users: bool, cluster: str = "") -> list[Step]:
    """Return all steps in order, for a cluster if one is named. Raises ConfigError for a bad name, and as `find_pending` does."""
    found = load_migrations()
    if not re.fullmatch(r"\w*", cluster):
        raise ConfigError("TOUCHLINE_CLICKHOUSE_CLUSTER must be a name of remote_servers: letters, digits and _")
    waiting = {script.name for script in find_pending(found, applied)}
    steps = [Step("database", "all", "ensure", _database_statements(cluster))]
    if has_sql_users:  # before the migrations: the definer of a materialized view must exist
        roles = role_statements()
        statements = [cluster_form.add_cluster(each, cluster) for each in roles] if cluster else roles
        steps.append(Step("rights", "roles", "ensure", statements))
    for script in found:
        new = script.name in waiting
        steps.append(
            Step("migration", script.name, "apply" if new else "none", _migration_statements(script, cluster) if new else [])
        )
    return steps + [Step("view", view.name, "replace", _view_statements(view, cluster)) for view in load_views()]


def _database_statements(cluster: str) -> list[str]:
    if not cluster:
        return [*DATABASES, HISTORY]
    made = [cluster_form.add_cluster(each, cluster) for each in (*DATABASES, cluster_form.SHARD)]
    return [*made, cluster_form.replicate_history(HISTORY, cluster)]


def _migration_statements(script: Script, cluster: str) -> list[str]:
    """Return the statements of a migration; the last one records it."""
    record = f"INSERT INTO touchline_store.migrations (name, checksum) SELECT '{script.name}', '{script.checksum}'"
    statements = [add_definer(each) for each in script.statements]
    if cluster:
        statements = [turned for each in statements for turned in cluster_form.split_for_shards(each, cluster)]
    return [*statements, record]


def _view_statements(view: Script, cluster: str) -> list[str]:
    statements = [each for statement in view.statements for each in secure_view(statement)]
    return [cluster_form.read_all_shards(each, cluster) for each in statements] if cluster else statements


def _read_applied(client: ClickHouse) -> dict[str, str]:
    known = client.query("SELECT count() FROM system.tables WHERE database = 'touchline_store' AND name = 'migrations'")
    if not known.rows[0][0]:
        return {}
    return dict(client.query("SELECT name, toString(checksum) FROM touchline_store.migrations FINAL").rows)


def _check_rights(client: ClickHouse) -> bool:
    """Return whether the server creates users by SQL. Raises ConfigError where its configuration lacks our users and rights."""
    if client.query(f"SELECT count() FROM system.user_directories WHERE type IN ({WRITABLE})").rows[0][0]:  # noqa: S608
        return True
    if not client.query("SELECT count() FROM system.users WHERE name = 'touchline_definer'").rows[0][0]:
        raise ConfigError(f"ClickHouse has no user touchline_definer and creates none by SQL: {ADVICE}")
    granted = {tuple(row) for row in client.query(GRANTS_QUERY).rows}
    wanted = {(view, column) for view, columns in find_open_columns(view_statements()).items() for column in columns}
    if excess := sorted(f"{view or '*'}.{column or '*'}" for view, column in granted - wanted):
        raise ConfigError(f"the role touchline_analyst may read touchline_unmasked.{excess[0]}, which no mask covers: {ADVICE}")
    if missing := sorted(f"{view}.{column}" for view, column in wanted - granted):
        raise ConfigError(f"the role touchline_analyst lacks SELECT on touchline_unmasked.{missing[0]}: {ADVICE}")
    return False
