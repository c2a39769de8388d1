"""The views over a simulated company: answers of the cookbook, and the same rows with and without duplicates."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from deploy.local.state import Stack
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from sinks.lookups import CUSTOMER_VIEWS
from sinks.migrations import migrate
from sinks.rights.masks import PARAMETER
from sinks.scripts import VIEWS, load_views
from tests.harness.cookbook_answers import ANSWERS
from tests.harness.sinks import COPIES, ask, ask_value, declared, except_columns
from tests.harness.telecom_world import World, load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PARTS = 5
ROUNDED = 0.0051  # queries round to two digits or more
RECIPE = re.compile(r"^## (\d+)\. (.+?)\n.*?```sql\n(.+?)```", re.MULTILINE | re.DOTALL)
COOKBOOK = (VIEWS / "COOKBOOK.md").read_text()
QUICK = re.findall(r"```sql\n(.+?)```", COOKBOOK.partition("\n## ")[0], re.DOTALL)
RECIPES = [(int(number), question, sql) for number, question, sql in RECIPE.findall(COOKBOOK)]
PLAIN = [view.name for view in load_views() if not PARAMETER.search(view.sql)]
WITH_CUSTOMERS = [view for view in PLAIN if "customer_id" in declared(view)]


def read_tables(view: str) -> set[str]:
    """Return the stored tables with the rows of a view, also through other views. Some tables only move or hide rows."""
    (sql,) = (each.sql for each in load_views() if each.name == view)
    through = {name for name in re.findall(r"touchline\.(\w+)", sql) if name != view}
    hidden = {f"touchline_store.{name}" for name in ("current_customers", "first_versions", "erased_customers", "routes")}
    return set(re.findall(r"FROM (touchline_store\.\w+)", sql)).union(*map(read_tables, through)) - hidden


# The clean world has no changes of identity, so views of changes differ by intent.
COMPARABLE = [view for view in PLAIN if view not in ("identity_changes", "revisions")]


@pytest.fixture(scope="module")
def client(own_stack: Stack) -> Iterator[ClickHouse]:
    """Migrate and stop merges, so that only the views remove duplicates."""
    client = ClickHouse()
    list(migrate(client, cluster="", dry_run=False))
    for table in load_tables().values():
        client.execute(f"SYSTEM STOP MERGES {table.stored}")
    for copy in COPIES:
        client.execute(f"SYSTEM STOP MERGES touchline_store.{copy}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def clean(client: ClickHouse, world: World) -> dict[str, list[str]]:
    """Return the rows of all views over the clean world."""
    load(client, world.clean())
    return {view: read_view(client, view) for view in PLAIN}


@pytest.fixture(scope="module")
def messy(client: ClickHouse, world: World, clean: dict[str, list[str]]) -> ClickHouse:
    """Load the published world, half of it twice, in unmerged parts."""
    load(client, world.chain.topics, PARTS)
    return client


def read_view(client: ClickHouse, view: str) -> list[str]:
    name = re.split(r"\W", view)[0].removesuffix("_of")
    columns = except_columns(name, "customer_id_then")
    return sorted(repr(round_floats(row)) for row in client.query(f"SELECT *{columns} FROM touchline.{view}").rows)


def round_floats(value: Any) -> Any:
    """Round a value, because the order of additions changes its last digits."""
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"
    return [round_floats(each) for each in value] if isinstance(value, (list, tuple)) else value


def test_tables_hold_duplicates_in_unmerged_parts(messy: ClickHouse) -> None:
    for table in ("touchpoints", "journeys", "satisfaction", "churn", "members", "routes"):
        stored = load_tables()[table].stored
        parts = f"SELECT count() FROM system.parts WHERE active AND database || '.' || table = '{stored}'"
        assert ask_value(parts) == PARTS, table
        assert ask_value(f"SELECT count() FROM {stored}") > ask_value(f"SELECT count() FROM {stored} FINAL"), table


@pytest.mark.parametrize("view", COMPARABLE)
def test_view_is_the_same_over_duplicates_and_unmerged_parts(view: str, messy: ClickHouse, clean: dict[str, list[str]]) -> None:
    """A view whose tables the world does not fill is empty both times."""
    filled = [table for table in read_tables(view) if ask_value(f"SELECT count() FROM {table}")]
    assert clean[view] or not filled, "there is nothing to compare"
    assert read_view(messy, view) == clean[view]


@pytest.mark.parametrize("sql", QUICK)
def test_fast_queries_of_the_cookbook_run(sql: str, messy: ClickHouse) -> None:
    assert messy.query(sql).rows or "customer_id = " in sql


@pytest.mark.parametrize(
    "view", [pytest.param(view, marks=pytest.mark.slow) if view.startswith("ident") else view for view in CUSTOMER_VIEWS]
)
def test_view_of_one_customer_equals_the_view_of_all_with_a_condition(view: str, messy: ClickHouse, world: World) -> None:
    customers = [
        each["customer_id"] for each in ask("SELECT customer_id FROM touchline.customers ORDER BY touchpoints DESC LIMIT 20")
    ]
    found = [read_view(messy, f"{view} WHERE customer_id = '{each}'") for each in customers]
    assert all(found) or view == "identity_evidence"
    assert any(found)
    assert [read_view(messy, f"{view}_of(customer_id = '{each}')") for each in customers] == found
    for lost in world.merged:
        assert read_view(messy, f"{view}_of(customer_id = '{UUID(bytes=lost)}')") == []


def test_pain_points_of_all_days_equal_pain_points(messy: ClickHouse, clean: dict[str, list[str]]) -> None:
    assert read_view(messy, "pain_points_between(since = '2000-01-01', until = '2100-01-01')") == clean["pain_points"]


def test_each_merge_is_a_change_with_the_current_customer(messy: ClickHouse, world: World) -> None:
    found = [row for row in ask("SELECT * FROM touchline.identity_changes") if row["change"] == "merge"]
    assert world.merged.items() <= {row["from_customer"].bytes: row["customer_id"].bytes for row in found}.items()
    assert len({(row["from_customer"], row["to_customer"], row["event_id"]) for row in found}) == len(found)
    for row in found:
        then = row["from_customer"].bytes
        assert row["customer_id"].bytes == world.merged.get(then, then)


def test_a_journey_has_as_many_steps_as_touchpoints(messy: ClickHouse) -> None:
    steps = (
        "SELECT journey_id, count() AS n, max(step) AS last, countIf(dwell_seconds IS NULL) AS open FROM touchline.journey_steps"
    )
    found = {row["journey_id"]: (row["n"], row["last"], row["open"]) for row in ask(f"{steps} GROUP BY journey_id")}
    rows = ask("SELECT journey_id, toUInt64(touchpoints) AS n FROM touchline.journeys")
    assert found == {row["journey_id"]: (row["n"], row["n"], 1) for row in rows}


def test_no_view_shows_an_erased_customer_or_one_merged_into_it(messy: ClickHouse, world: World) -> None:
    erased = next(iter(world.merged.values()))
    family = {UUID(bytes=each) for each in (erased, *(lost for lost, kept in world.merged.items() if kept == erased))}
    before = {view: find_customers(view) for view in WITH_CUSTOMERS}
    assert family & before["touchpoints"]
    assert all(family & shown for shown in before.values() if shown)
    nodes = [node for node, each in world.members.items() if each["customer_id"] == erased]
    messy.insert("touchline_store.erasures", ("identifier_id", "customer_id"), [nodes, [erased] * len(nodes)], "erased")
    try:
        assert {view: find_customers(view) for view in WITH_CUSTOMERS} == {view: shown - family for view, shown in before.items()}
        assert UUID(bytes=erased) not in find_customers("customers")
    finally:
        messy.execute("TRUNCATE TABLE touchline_store.erasures")


def find_customers(view: str) -> set[UUID]:
    """Return all customers in a view."""
    columns = ask(f"SELECT name FROM system.columns WHERE database = 'touchline' AND table = '{view}' AND name LIKE '%customer%'")
    names = [row["name"] for row in columns if row["name"] != "customers"]
    rows = ask(f"SELECT DISTINCT {', '.join(names)} FROM touchline.{view}")
    return {value for row in rows for value in row.values()}


def test_identifiers_are_masked(messy: ClickHouse, world: World) -> None:
    shown = {(row["kind"], row["identifier"]) for row in ask("SELECT kind, identifier FROM touchline.identities")}
    assert not shown & {(each["kind"], each["value"]) for each in world.members.values()}
    assert shown == {(each["kind"], mask(each["kind"], each["value"])) for each in world.members.values()}


def mask(kind: str, value: str) -> str:
    if kind == "email":
        name, _, domain = value.partition("@")
        return f"{name[0]}***@{domain[0]}***.{domain.rpartition('.')[2]}"
    system, slash, own = value.partition("/") if "/" in value else ("", "", value)
    return f"{system}{slash}***{own[-2:] if len(own) > 5 else ''}"


def test_each_question_of_the_cookbook_has_an_answer() -> None:
    assert [number for number, _, _ in RECIPES] == list(range(1, 23))
    assert len(ANSWERS) == len(RECIPES)


@pytest.mark.parametrize(("number", "question", "sql"), RECIPES, ids=[question for _, question, _ in RECIPES])
def test_cookbook_answers_equal_plain_python(number: int, question: str, sql: str, messy: ClickHouse, world: World) -> None:
    found, expected = messy.query(sql).rows, ANSWERS[number - 1](world)
    assert expected, "the world is too small for this question"
    assert len(found) == len(expected)
    for row, computed in zip(found, expected, strict=True):
        assert list(row) == [pytest.approx(each, abs=ROUNDED) if isinstance(each, float) else each for each in computed]
