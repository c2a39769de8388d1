"""How a view gets its rights and masks, and what a statement becomes on a cluster."""

import re

import pytest

from schemas.errors import ConfigError
from sinks.cluster import across, everywhere, sharded
from sinks.migrations import ROLES, VIEWS, migrations, plan, views
from sinks.rights.masks import MASKS, PINNED, by_definer, masks, secured

VIEW = "CREATE OR REPLACE VIEW touchline.{0}\n(\n    text Nullable(String) COMMENT 'a'\n)\nAS\nSELECT text FROM t\nCOMMENT 'b'"
TABLE = """CREATE TABLE IF NOT EXISTS touchline_store.t
(
    a Int8 COMMENT 'a',
    b Int8 COMMENT 'b'
)
ENGINE = ReplacingMergeTree(b)
ORDER BY (a, b)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 't'"""
ALTER = """ALTER TABLE touchline_store.t
    ADD COLUMN IF NOT EXISTS c Map(String, String) COMMENT 'one, ADD two' AFTER b,
    MODIFY ORDER BY (a, b, c),
    ADD INDEX i c TYPE minmax"""


def test_a_view_without_personal_data_is_the_definers() -> None:
    (statement,) = secured(VIEW.format("kpis"))
    assert "\n)\nDEFINER = touchline_definer SQL SECURITY DEFINER\nAS\nSELECT" in statement


def test_a_view_with_personal_data_becomes_two() -> None:
    values, chosen = secured(VIEW.format("dead_letters"))
    assert values.startswith(
        "CREATE OR REPLACE VIEW touchline_unmasked.dead_letters\nDEFINER = touchline_definer SQL SECURITY DEFINER"
    )
    assert "SQL SECURITY INVOKER" in chosen
    assert "if(has(enabledRoles(), 'touchline_pii'), payload, payload_masked) AS payload" in chosen
    assert chosen.endswith("FROM touchline_unmasked.dead_letters\nCOMMENT 'b'")


@pytest.mark.parametrize("refresh", ["", "REFRESH EVERY 10 SECOND APPEND "])
def test_a_materialized_view_is_the_definers_too(refresh: str) -> None:
    view = f"CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.v\n{refresh}TO touchline_store.t\nAS\nSELECT 1\nAS\na"
    assert by_definer(view).startswith(
        view.partition("\nAS\n")[0] + "\nDEFINER = touchline_definer SQL SECURITY DEFINER\nAS\nSELECT"
    )
    assert by_definer(TABLE) == TABLE


@pytest.mark.parametrize("sql", ["SELECT 1", VIEW.format("kpis").replace("touchline.", "default."), VIEW.format("kpis")[:-12]])
def test_what_is_no_view_of_ours_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError, match="a view is one CREATE OR REPLACE VIEW touchline"):
        secured(sql)


def test_masks_are_of_columns_that_there_are() -> None:
    for view, columns in MASKS.items():
        declared = re.findall(r"^    (\w+) ", (VIEWS / f"{view}.sql").read_text(), re.MULTILINE)
        assert set(columns) <= set(declared)


def test_masked_columns_are_taken_from_the_analyst() -> None:
    taken = re.findall(r"REVOKE SELECT\((.*?)\) ON touchline_unmasked\.(\w+) FROM touchline_analyst;", ROLES.read_text())
    assert {view: set(columns.split(", ")) for columns, view in taken} == {
        view.name: set(masks(view.name)) for view in views() if masks(view.name)
    }


def test_rows_are_replicated_and_the_name_is_read_across_shards() -> None:
    rows, whole = sharded(TABLE, "main")
    assert rows.startswith("CREATE TABLE IF NOT EXISTS touchline_shard.t ON CLUSTER main\n")
    assert "ENGINE = ReplicatedReplacingMergeTree(b)\nORDER BY (a, b)\nSETTINGS replicated_deduplication_window = 10000" in rows
    assert whole == (
        "CREATE TABLE IF NOT EXISTS touchline_store.t ON CLUSTER main AS touchline_shard.t\n"
        "ENGINE = Distributed(main, touchline_shard, t, sipHash64(a, b))"
    )


def test_a_distributed_table_follows_the_columns_only() -> None:
    rows, whole = sharded(ALTER, "main")
    assert rows == ALTER.replace("touchline_store.t", "touchline_shard.t ON CLUSTER main")
    assert whole == (
        "ALTER TABLE touchline_store.t ON CLUSTER main\n"
        "    ADD COLUMN IF NOT EXISTS c Map(String, String) COMMENT 'one, ADD two' AFTER b"
    )
    assert len(sharded("ALTER TABLE touchline_store.t\n    ADD INDEX i c TYPE minmax", "main")) == 1


def test_materialized_views_stay_on_the_whole_tables_and_rows_move_once() -> None:
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.v\nTO touchline_store.t\nAS\nSELECT a FROM touchline_store.s"
    assert sharded(view, "main") == [view.replace("touchline_store.v", "touchline_store.v ON CLUSTER main")]
    assert sharded("INSERT INTO touchline_store.t SELECT 1", "main") == ["INSERT INTO touchline_store.t SELECT 1"]


def test_rights_and_views_are_for_every_server() -> None:
    assert everywhere("GRANT SELECT ON a.* TO b", "main") == "GRANT ON CLUSTER main SELECT ON a.* TO b"
    assert everywhere("CREATE ROLE IF NOT EXISTS a", "main") == "CREATE ROLE IF NOT EXISTS a ON CLUSTER main"
    assert "FROM t\nSETTINGS distributed_product_mode = 'global'\nCOMMENT 'b'" in across(VIEW.format("kpis"), "main")
    (pinned,) = secured(VIEW.format("kpis"))
    assert f"FROM t\nSETTINGS {PINNED}, distributed_product_mode = 'global'\nCOMMENT 'b'" in across(pinned, "main")


def test_only_what_waits_is_planned_and_each_migration_ends_by_remembering_itself() -> None:
    found = migrations()
    steps = plan({script.name: script.checksum for script in found[1:]}, own_rights=False)
    applied = [step for step in steps if step.action == "apply"]
    assert [step.name for step in applied] == [found[0].name]
    assert applied[0].statements[-1].endswith(f"SELECT '{found[0].name}', '{found[0].checksum}'")
    assert [step.name for step in steps if step.kind == "view"] == [view.name for view in views()]
    assert {step.kind for step in steps} == {"database", "migration", "view"}


@pytest.mark.parametrize("cluster", ["", "main"])
def test_the_definer_is_there_before_anything_is_its_own(cluster: str) -> None:
    """A server refuses a view whose definer it does not know."""
    planned = [each for step in plan({}, own_rights=True, cluster=cluster) for each in step.statements]
    naming = [each for each in planned if "touchline_definer" in each]
    assert naming[0].startswith("CREATE USER IF NOT EXISTS touchline_definer")
    assert "DEFINER = touchline_definer" in "".join(naming)
