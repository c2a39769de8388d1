"""Rights and masks of views, and the cluster form of statements."""

import re

import pytest

from schemas.errors import ConfigError
from sinks.cluster import add_cluster, read_all_shards, split_for_shards
from sinks.migrations import plan
from sinks.rights.masks import PINNED_SETTINGS, add_definer, find_masks, find_open_columns, secure_view
from sinks.scripts import load_migrations, load_views, role_statements, view_statements

VIEW = "CREATE OR REPLACE VIEW touchline.{0}\n(\n    text Nullable(String) COMMENT 'a'\n)\nAS\nSELECT text FROM t\nCOMMENT 'b'"
GRANT = re.compile(r"GRANT SELECT\((.+)\) ON touchline_unmasked\.(\w+) TO touchline_analyst")
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


def test_view_without_personal_data_runs_with_rights_of_the_definer() -> None:
    (statement,) = secure_view(VIEW.format("kpis"))
    assert "\n)\nDEFINER = touchline_definer SQL SECURITY DEFINER\nAS\nSELECT" in statement


def test_view_with_personal_data_becomes_two() -> None:
    values, chosen = secure_view(VIEW.format("dead_letters").replace("'a'", "'personal data'"))
    assert values.startswith(
        "CREATE OR REPLACE VIEW touchline_unmasked.dead_letters\nDEFINER = touchline_definer SQL SECURITY DEFINER"
    )
    assert "SQL SECURITY INVOKER" in chosen
    assert "if(has(enabledRoles(), 'touchline_pii'), text, text_masked) AS text" in chosen
    assert chosen.endswith(f"FROM touchline_unmasked.dead_letters\nSETTINGS {PINNED_SETTINGS}\nCOMMENT 'b'")


@pytest.mark.parametrize("refresh", ["", "REFRESH EVERY 10 SECOND APPEND "])
def test_materialized_view_runs_with_rights_of_the_definer(refresh: str) -> None:
    view = f"CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.v\n{refresh}TO touchline_store.t\nAS\nSELECT 1\nAS\na"
    assert add_definer(view).startswith(
        view.partition("\nAS\n")[0] + "\nDEFINER = touchline_definer SQL SECURITY DEFINER\nAS\nSELECT"
    )
    assert add_definer(TABLE) == TABLE


@pytest.mark.parametrize("sql", ["SELECT 1", VIEW.format("kpis").replace("touchline.", "default."), VIEW.format("kpis")[:-12]])
def test_statement_of_another_form_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError, match="a view is one CREATE OR REPLACE VIEW touchline"):
        secure_view(sql)


def test_comment_of_a_column_and_its_type_decide_the_mask() -> None:
    columns = [
        "a String COMMENT 'bytes, at most 6 MiB; personal data'",
        "b Nullable(String)\n        COMMENT 'what the customer wrote; personal data'",
        "c Map(LowCardinality(String), String) COMMENT 'personal data'",
        "d String COMMENT 'ISO 4217 code'",
    ]
    masks = find_masks(view_of(*columns))
    assert masks.keys() == {"a", "b", "c"}
    assert masks["b"] == "if(isNull(b), NULL, '***')"
    with pytest.raises(ConfigError, match=r"view v: column e of type UInt8 has no mask"):
        find_masks(view_of("e UInt8 COMMENT 'personal data'"))


def view_of(*columns: str) -> str:
    listed = ",\n    ".join(columns)
    return f"CREATE OR REPLACE VIEW touchline.v\n(\n    {listed}\n)\nAS\nSELECT 1\nCOMMENT 'v'"


def test_known_personal_data_is_masked() -> None:
    """Every view that shows one of these columns masks it; other columns may be personal, too."""
    masked = {view.name: set(find_masks(view.statements[0])) for view in load_views()}
    assert masked["touchpoints"] >= {"text", "attributes", "identifier_values", "traits"}
    assert masked["identity_conflicts"] >= {"value", "other_value"}
    assert masked["touchpoints_of"] == masked["touchpoints"]
    assert masked["dead_letters"] >= {"key", "payload"}


def test_analyst_is_granted_named_columns_without_personal_data() -> None:
    """A grant on a whole view would include the subcolumns of personal columns."""
    granted = [each for each in role_statements() if " touchline_unmasked." in each and each.endswith(" TO touchline_analyst")]
    assert all(map(GRANT.fullmatch, granted))
    found = {view: set(columns.split(", ")) for columns, view in GRANT.findall("\n".join(granted))}
    assert found == {view: set(columns) for view, columns in find_open_columns(view_statements()).items()}
    for view in load_views():
        masks = set(find_masks(view.statements[0]))
        assert not masks & found.get(view.name, set())
        assert {f"{name}_masked" for name in masks} <= found.get(view.name, set())


def test_table_becomes_a_replicated_and_a_distributed_table() -> None:
    rows, whole = split_for_shards(TABLE, "main")
    assert rows.startswith("CREATE TABLE IF NOT EXISTS touchline_shard.t ON CLUSTER main\n")
    assert "ENGINE = ReplicatedReplacingMergeTree(b)\nORDER BY (a, b)\nSETTINGS replicated_deduplication_window = 10000" in rows
    assert whole == (
        "CREATE TABLE IF NOT EXISTS touchline_store.t ON CLUSTER main AS touchline_shard.t\n"
        "ENGINE = Distributed(main, touchline_shard, t, sipHash64(a, b))"
    )


def test_distributed_table_follows_columns_only() -> None:
    rows, whole = split_for_shards(ALTER, "main")
    assert rows == ALTER.replace("touchline_store.t", "touchline_shard.t ON CLUSTER main")
    assert whole == (
        "ALTER TABLE touchline_store.t ON CLUSTER main\n"
        "    ADD COLUMN IF NOT EXISTS c Map(String, String) COMMENT 'one, ADD two' AFTER b"
    )
    assert len(split_for_shards("ALTER TABLE touchline_store.t\n    ADD INDEX i c TYPE minmax", "main")) == 1


def test_materialized_views_read_distributed_tables_and_rows_move_once() -> None:
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.v\nTO touchline_store.t\nAS\nSELECT a FROM touchline_store.s"
    assert split_for_shards(view, "main") == [view.replace("touchline_store.v", "touchline_store.v ON CLUSTER main")]
    assert split_for_shards("INSERT INTO touchline_store.t SELECT 1", "main") == ["INSERT INTO touchline_store.t SELECT 1"]


def test_view_of_a_migration_reads_all_shards() -> None:
    view = (
        "CREATE OR REPLACE VIEW touchline_store.v\n(\n    a Int8 COMMENT 'a'\n)\nAS\nSELECT a FROM touchline_store.s\nCOMMENT 'v'"
    )
    (found,) = split_for_shards(view, "main")
    assert found.startswith("CREATE OR REPLACE VIEW touchline_store.v ON CLUSTER main\n")
    assert "\nSETTINGS distributed_product_mode = 'global'\nCOMMENT 'v'" in found


def test_dropped_table_leaves_no_rows_on_any_shard() -> None:
    assert split_for_shards("DROP TABLE IF EXISTS touchline_store.t", "main") == [
        "DROP TABLE IF EXISTS touchline_store.t ON CLUSTER main",
        "DROP TABLE IF EXISTS touchline_shard.t ON CLUSTER main",
    ]


def test_changed_query_of_a_materialized_view_stays_one_statement() -> None:
    changed = "ALTER TABLE touchline_store.v MODIFY QUERY\nSELECT a FROM touchline_store.t"
    assert split_for_shards(changed, "main") == [changed.replace("touchline_store.v", "touchline_store.v ON CLUSTER main")]


def test_rebuilt_table_reads_rows_of_its_shard_and_rules_of_all_shards() -> None:
    statements = [each for step in plan({}, has_sql_users=False, cluster="main") for each in step.statements]
    rebuilt = [each for each in statements if "\nREFRESH " in each]
    assert {name for each in rebuilt for name in re.findall(r"(?:FROM|JOIN) touchline_store\.(\w+)", each)} == {
        "merges",
        "current_customers",
        "first_versions",
    }


def test_rights_and_views_are_created_on_every_server() -> None:
    assert add_cluster("GRANT SELECT ON a.* TO b", "main") == "GRANT ON CLUSTER main SELECT ON a.* TO b"
    assert add_cluster("CREATE ROLE IF NOT EXISTS a", "main") == "CREATE ROLE IF NOT EXISTS a ON CLUSTER main"
    assert "FROM t\nSETTINGS distributed_product_mode = 'global'\nCOMMENT 'b'" in read_all_shards(VIEW.format("kpis"), "main")
    (pinned,) = secure_view(VIEW.format("kpis"))
    assert f"FROM t\nSETTINGS {PINNED_SETTINGS}, distributed_product_mode = 'global'\nCOMMENT 'b'" in read_all_shards(
        pinned, "main"
    )


def test_pending_migrations_are_planned_and_each_records_itself_last() -> None:
    found = load_migrations()
    steps = plan({script.name: script.checksum for script in found[1:]}, has_sql_users=False)
    applied = [step for step in steps if step.action == "apply"]
    assert [step.name for step in applied] == [found[0].name]
    assert applied[0].statements[-1].endswith(f"SELECT '{found[0].name}', '{found[0].checksum}'")
    assert [step.name for step in steps if step.kind == "view"] == [view.name for view in load_views()]
    assert {step.kind for step in steps} == {"database", "migration", "view"}


@pytest.mark.parametrize("cluster", ["", "main"])
def test_definer_is_created_before_anything_names_it(cluster: str) -> None:
    """A server refuses a view with an unknown definer."""
    planned = [each for step in plan({}, has_sql_users=True, cluster=cluster) for each in step.statements]
    naming = [each for each in planned if "touchline_definer" in each]
    assert naming[0].startswith("CREATE USER IF NOT EXISTS touchline_definer")
    assert "DEFINER = touchline_definer" in "".join(naming)
