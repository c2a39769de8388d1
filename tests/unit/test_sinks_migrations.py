"""Migrations and views: their order, and refused changes."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest

from deploy.topics import options, plan, read_partitions
from schemas.errors import ConfigError, RetryableError
from schemas.wire.topics import TOPICS
from sinks.clickhouse import Answer, ClickHouse
from sinks.contract import load_tables, select_tables
from sinks.migrations import GRANTS_QUERY, find_pending, migrate
from sinks.rights.masks import find_open_columns
from sinks.scripts import TABLES, Script, load_migrations, load_views, view_statements

RETIRED = {"identities", "identity_changes", "merges"}


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"SELECT '{name}';\n")


def test_every_table_begins_with_a_migration() -> None:
    """`touchline erase` writes erasures and their proofs itself, and retired tables have only migrations."""
    assert {script.name.partition("/")[0] for script in load_migrations() if "/0001_" in script.name} == {
        *load_tables(),
        "erasures",
        "erasure_proofs",
        *RETIRED,
    }


@pytest.mark.parametrize("folder", sorted(TABLES.glob("*/migrations")), ids=lambda folder: folder.parent.name)
def test_committed_migrations_never_change(folder: Path) -> None:
    """Servers may have applied a committed file, and `touchline migrate` refuses there a changed one."""
    sums = folder / "SHA256SUMS"
    lines = [line.split("  ") for line in sums.read_text().splitlines()] if sums.exists() else []
    listed = {name: kept for kept, name in lines}
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.sql")}
    changed = sorted(name for name in listed if found.get(name) != listed[name])
    assert not changed, f"{folder}: put {changed} back as committed, and add a new numbered file for what is to change"
    new = " ".join(sorted(found.keys() - listed.keys()))
    assert not new, f"a new migration: cd {folder} && sha256sum {new} >> SHA256SUMS"


def test_migrations_run_by_table_and_number(tmp_path: Path) -> None:
    write(tmp_path, "b/migrations/0001_create.sql", "a/migrations/0002_widen.sql", "a/migrations/0001_create.sql")
    assert [script.name for script in load_migrations(tmp_path)] == ["a/0001_create", "a/0002_widen", "b/0001_create"]


def test_views_have_the_same_order_in_every_process() -> None:
    """Processes that share the tests must agree on the order of parametrized tests."""
    reported = [
        subprocess.run(
            [sys.executable, "-c", "from sinks.scripts import load_views; print([view.name for view in load_views()])"],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    ]
    assert reported == [f"{[view.name for view in load_views()]}\n"] * 3


@pytest.mark.parametrize("name", ["0003_widen.sql", "2_widen.sql", "0002-widen.sql", "0001_again.sql"])
def test_gap_or_repeated_number_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a/migrations/0001_create.sql", f"a/migrations/{name}")
    with pytest.raises(ConfigError, match=r"a/migrations/.* must be named 000[12]_<change>\.sql"):
        load_migrations(tmp_path)


def test_migration_is_pending_until_it_is_applied() -> None:
    first, second = Script("a/0001_create", "SELECT 1"), Script("a/0002_widen", "SELECT 2")
    assert find_pending([first, second], {first.name: first.checksum}) == [second]
    assert find_pending([first, second], {}) == [first, second]


def test_changed_migration_is_refused() -> None:
    applied = {"a/0001_create": Script("a/0001_create", "SELECT 1").checksum}
    with pytest.raises(ConfigError, match="a/0001_create was changed after it was applied: put the file back"):
        find_pending([Script("a/0001_create", "SELECT 2")], applied)


def test_database_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="migrated by a newer version"):
        find_pending([], {"a/0001_create": "x"})


def test_statements_end_at_a_semicolon_at_the_end_of_a_line() -> None:
    assert Script("a", "SELECT ';' AS a,\n 1;  \n\nSELECT 2\n").statements == ["SELECT ';' AS a,\n 1", "SELECT 2"]


def test_view_comes_after_the_views_that_it_reads(tmp_path: Path) -> None:
    for name, sql in {"a": "SELECT * FROM touchline.b", "b": "SELECT * FROM touchline.c", "c": "SELECT 1"}.items():
        (tmp_path / f"{name}.sql").write_text(f"CREATE OR REPLACE VIEW touchline.{name} AS {sql}")
    assert [view.name for view in load_views(tmp_path)] == ["c", "b", "a"]


def test_unknown_table_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="there is no table orders; tables are churn, "):
        select_tables(("touchpoints", "orders"))


def test_topic_with_another_partition_count_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"touchline\.crm has 3 partitions and needs 8"):
        plan({TOPICS[0].name: 3}, {})


def test_topic_that_the_broker_is_still_loading_is_waited_for() -> None:
    good = {"name": "a", "error_code": 0, "partitions": [{}, {}]}
    assert read_partitions([good]) == {"a": 2}
    with pytest.raises(RetryableError, match=r"has not loaded topic b yet \(error 5\)"):
        read_partitions([good, {"name": "b", "error_code": 5, "partitions": []}])


def test_topics_are_created_left_or_configured() -> None:
    existing = {topic.name: topic.partitions for topic in TOPICS[1:]}
    configured = {topic.name: options(topic) for topic in TOPICS[1:]}
    configured[TOPICS[1].name] = {**options(TOPICS[1]), "retention.ms": "604800000"}
    created, changed, *rest = plan(existing, configured)
    assert (created.action, changed.action, {change.action for change in rest}) == ("create", "configure", {"none"})
    assert changed.options == {"retention.ms": "-1"}
    assert {change.topic for change in rest if options(change.topic)["cleanup.policy"] == "compact"} == {
        topic for topic in TOPICS if topic.compacted
    }


class ConfiguredServer:
    """Server whose users are in its configuration, with these grants of the role touchline_analyst on touchline_unmasked."""

    def __init__(self, grants: set[tuple[str, str]]) -> None:
        self.grants = grants

    def query(self, sql: str) -> Answer:
        if sql == GRANTS_QUERY:
            return Answer([], sorted(self.grants))
        return Answer([], [(1 if "system.users" in sql else 0,)])


NEEDED = {(view, column) for view, columns in find_open_columns(view_statements()).items() for column in columns}


def dry_run(grants: set[tuple[str, str]]) -> int:
    return len(list(migrate(cast("ClickHouse", ConfiguredServer(grants)), cluster="", dry_run=True)))


def test_configured_grants_are_accepted_when_they_match_the_views() -> None:
    assert dry_run(NEEDED) > len(load_views())


@pytest.mark.parametrize("excess", [("", ""), ("touchpoints", ""), ("touchpoints", "text"), ("touchpoints", "attributes.values")])
def test_configured_grant_on_personal_data_is_refused(excess: tuple[str, str]) -> None:
    """An empty name stands for all views, or for all columns of a view."""
    with pytest.raises(ConfigError, match=r"touchline_analyst may read touchline_unmasked\..* which no mask covers"):
        dry_run(NEEDED | {excess})


def test_missing_configured_grant_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lacks SELECT on touchline_unmasked\.touchpoints\.system: restart a local stack"):
        dry_run(NEEDED - {("touchpoints", "system")})
