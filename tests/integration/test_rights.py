"""Rights and masks on a real engine, as each user of the local stack."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from clickhouse_driver.clientinfo import ClientInfo

from deploy.local.state import Stack
from schemas.errors import ConfigError, FatalError, TouchlineError
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.connection import ClickHouseSettings
from sinks.refreshes import INCOMPLETE
from sinks.rights.masks import find_masks
from sinks.scripts import load_views, role_statements
from tests.harness.sinks import REFRESHED, ask, ask_value, call_view, publish, resolved, store, to_uuid

pytestmark = pytest.mark.integration
READERS = ("analyst", "analyst_pii")
MASKED = [(call_view(view), column) for view in load_views() for column in find_masks(view.statements[0])]
TEXT, NAME = "my number is 0151 2345", "Ada Example"


@contextmanager
def connect(user: str) -> Iterator[ClickHouse]:
    client = ClickHouse(ClickHouseSettings(user=user))
    try:
        yield client
    finally:
        client.close()


def ask_rows(user: str, sql: str) -> list[tuple[Any, ...]]:
    with connect(user) as client:
        return client.query(sql).rows


def ask_refusal(user: str, sql: str) -> TouchlineError:
    with connect(user) as client, pytest.raises((ConfigError, FatalError, UnavailableError)) as caught:
        client.query(sql)
    return caught.value


def ask_or_none(user: str, sql: str) -> Any:
    """Return the rows, or None if the query is refused."""
    with connect(user) as client:
        try:
            return client.query(sql).rows
        except (ConfigError, FatalError):
            return None


def list_subcolumns(table: str) -> list[tuple[str, str]]:
    """Return name and type of every column of a table or view and of every subcolumn."""
    found = ask(f"DESCRIBE TABLE {table} SETTINGS describe_include_subcolumns = 1")
    return [(row["name"], row["type"]) for row in found]


@pytest.fixture(scope="module")
def ada(migrated: Stack) -> UUID:
    """Store a customer with personal data."""
    customer = uuid4().bytes
    said = {"segment": "home", "name": NAME}
    touched = resolved(customer_id=customer, source="crm", text=TEXT, attributes=said, traits={"surname": NAME})
    publish("touchline.resolved", "resolved", [touched])
    publish("touchline.resolved", "resolved", [resolved(customer_id=customer)])
    store("touchpoints")
    return to_uuid(customer)


@pytest.mark.parametrize(("user", "view"), product(READERS, [call_view(view) for view in load_views()]))
def test_analysts_read_every_view(migrated: Stack, user: str, view: str) -> None:
    assert ask_rows(user, f"SELECT count() FROM (SELECT * FROM touchline.{view})")[0][0] >= 0


@pytest.mark.parametrize("user", READERS)
def test_analysts_are_refused_everything_else(migrated: Stack, user: str) -> None:
    for sql in (
        "SELECT text FROM touchline_store.touchpoints",
        "SELECT count() FROM touchline_store.touchpoints",
        "INSERT INTO touchline_store.routes (rule) SELECT 'none'",
        "INSERT INTO touchline.routes (rule) SELECT 'none'",
        "DROP VIEW touchline.touchpoints",
        "CREATE OR REPLACE VIEW touchline.touchpoints AS SELECT 1",
        "ALTER TABLE touchline_store.touchpoints DELETE WHERE 1",
        "GRANT touchline_pii TO analyst",
        "SELECT * FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SYSTEM STOP MERGES touchline_store.touchpoints",
    ):
        assert isinstance(ask_refusal(user, sql), ConfigError), sql


def test_personal_data_is_masked_unless_granted(ada: UUID) -> None:
    clear = [(TEXT, {"segment": "home", "name": NAME}), (None, {})]
    identity = {"analyst": (["***"], {"surname": "***"}), "analyst_pii": (["ada@example.org"], {"surname": NAME})}
    for source in (f"touchpoints WHERE customer_id = '{ada}'", f"touchpoints_of(customer_id = '{ada}')"):
        sql = f"SELECT text, attributes FROM touchline.{source} ORDER BY isNull(text)"
        assert ask_rows("analyst", sql) == [("***", {"segment": "home", "name": "***"}), (None, {})]
        assert ask_rows("analyst_pii", sql) == clear
        assert ask_rows("admin", sql) == clear
        for user, shown in identity.items():
            sql = f"SELECT identifier_values, traits FROM touchline.{source} ORDER BY isNull(text) LIMIT 1"
            assert ask_rows(user, sql) == [shown]


def test_masked_values_cannot_be_searched(ada: UUID) -> None:
    search = f"SELECT count() FROM touchline.touchpoints WHERE text LIKE '%0151%' AND customer_id = '{ada}'"
    assert [ask_rows(user, search) for user in READERS] == [[(0,)], [(1,)]]


def test_views_that_need_personal_data_work_for_all_readers(ada: UUID) -> None:
    sql = f"SELECT segment FROM touchline.customers WHERE customer_id = '{ada}'"
    assert [ask_rows(user, sql) for user in READERS] == [[("home",)], [("home",)]]


@pytest.mark.parametrize(("view", "column"), MASKED)
def test_masked_column_cannot_be_read_in_clear(migrated: Stack, view: str, column: str) -> None:
    for sql in (f"SELECT {column} FROM touchline_unmasked.{view}", f"SELECT * FROM touchline_unmasked.{view}"):
        assert "Not enough privileges" in str(ask_refusal("analyst", sql))
        assert "Not enough privileges" in str(ask_refusal("writer", sql))
        assert ask_rows("analyst_pii", f"SELECT count() FROM ({sql})")[0][0] >= 0


@pytest.mark.parametrize("settings", ["", " SETTINGS enable_analyzer = 0"])
@pytest.mark.parametrize(("view", "column"), MASKED)
def test_every_subcolumn_of_a_masked_column_is_refused(ada: UUID, view: str, column: str, settings: str) -> None:
    """The engine lists the subcolumns itself; functions that it replaces by a subcolumn are tried, too."""
    known = dict(list_subcolumns(f"touchline_unmasked.{view.partition('_of(')[0]}"))
    asked = [name for name in known if name.startswith(f"{column}.")]
    assert asked
    asked += [f"empty({column})", f"length({column})", f"toString({column})"]
    if known[column].startswith("Nullable("):
        asked += [f"isNull({column})", f"isNotNull({column})"]
    if known[column].startswith("Map("):
        asked += [f"mapKeys({column})", f"mapValues({column})", f"{column}['name']", f"{column}.key_name"]
    for expression in asked:
        for sql in (f"SELECT {expression} FROM {{}}", f"SELECT count() FROM {{}} WHERE toString({expression}) != '1'"):
            clear = f"{sql.format(f'touchline_unmasked.{view}')}{settings}"
            assert isinstance(ask_refusal("analyst", clear), ConfigError), clear
            shown = f"{sql.format(f'touchline.{view}')}{settings}"
            assert NAME not in str(ask_or_none("analyst", shown)), shown


def test_lengths_of_masked_values_are_those_of_the_masks(ada: UUID) -> None:
    sql = "SELECT text.size, length(text), attributes.values, attributes['name'], attributes.key_name, mapValues(attributes)"
    sql = f"{sql} FROM touchline.touchpoints WHERE customer_id = '{ada}' AND NOT text.null"
    assert ask_rows("analyst", sql) == [(3, 3, ["home", "***"], "***", "***", ["home", "***"])]
    assert ask_rows("analyst_pii", sql) == [(len(TEXT), len(TEXT), ["home", NAME], NAME, NAME, ["home", NAME])]


def test_analyst_reads_no_subcolumn_of_a_stored_table(migrated: Stack) -> None:
    tables = [row["name"] for row in ask("SELECT name FROM system.tables WHERE database = 'touchline_store'")]
    assert tables
    with connect("analyst") as client:
        for table in tables:
            for name, _ in list_subcolumns(f"touchline_store.{table}"):
                with pytest.raises(ConfigError, match="Not enough privileges"):
                    client.query(f"SELECT `{name}` FROM touchline_store.{table}")


FILTERS = {
    "additional_table_filters": "additional_table_filters = {{'{table}': '{condition}'}}",
    "parallel_replicas_custom_key": "parallel_replicas_custom_key = '{condition}', enable_parallel_replicas = 1,"
    " parallel_replicas_mode = 'custom_key_sampling', parallel_replicas_count = 2, parallel_replica_offset = 0",
}


@pytest.mark.parametrize("setting", FILTERS)
@pytest.mark.parametrize("table", ["touchline_unmasked.touchpoints", "touchline.touchpoints"])
def test_analyst_cannot_search_masked_values_by_a_setting(ada: UUID, setting: str, table: str) -> None:
    """ClickHouse evaluates these settings on the columns of a table without a check of grants."""
    chosen = FILTERS[setting].format(table=table, condition="text LIKE \\'%0151%\\'")
    assert f"Setting {setting} should not be changed" in str(
        ask_refusal("analyst", f"SELECT count() FROM {table} SETTINGS {chosen}")
    )


@pytest.mark.parametrize("table", ["touchline_store.touchpoints_by_event", "touchline_unmasked.touchpoints"])
def test_filter_in_a_setting_reaches_no_table_inside_a_view(ada: UUID, table: str) -> None:
    """The reader here has no profile of analysts."""
    chosen = FILTERS["additional_table_filters"].format(table=table, condition="text LIKE \\'%nothing like it%\\'")
    assert ask_value(f"SELECT count() FROM touchline.touchpoints WHERE customer_id = '{ada}' SETTINGS {chosen}") == 2


def test_client_that_claims_to_be_a_server_sees_no_more(ada: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a query may name any initial user, and `currentUser()` returns it; masks therefore do not use it."""
    write = ClientInfo.write

    def claim(self: Any, *arguments: Any) -> None:
        self.query_kind, self.initial_user = ClientInfo.QueryKind.SECONDARY_QUERY, "default"
        write(self, *arguments)

    monkeypatch.setattr(ClientInfo, "write", claim)
    assert ask_rows("analyst", "SELECT currentUser(), enabledRoles()") == [("default", ["touchline_analyst"])]
    said = ask_refusal("analyst", f"SELECT text FROM touchline.touchpoints WHERE customer_id = '{ada}'")
    assert "Not enough privileges" in str(said)


def test_columns_with_personal_data_are_masked(migrated: Stack) -> None:
    """Every column whose COMMENT says so has a mask, and `touchline_unmasked` shows both."""
    personal = ask("SELECT table, name FROM system.columns WHERE database = 'touchline' AND comment LIKE '%personal data%'")
    shown = ask("SELECT table, name FROM system.columns WHERE database = 'touchline_unmasked'")
    names = {(row["table"], row["name"]) for row in shown}
    assert personal
    assert {(row["table"], f"{row['name']}_masked") for row in personal} <= names


@pytest.mark.parametrize(
    ("limit", "sql"),
    [
        ("error 158 ", "SELECT count() FROM numbers(2000000000)"),
        ("memory_limit_exceeded", "SELECT groupArray(number) FROM numbers(900000000) FORMAT Null"),
        ("error 396 ", "SELECT number FROM numbers(1000001)"),
        ("timeout_exceeded", "SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_execution_time = 1"),
    ],
)
def test_query_over_a_limit_ends(migrated: Stack, limit: str, sql: str) -> None:
    assert limit in str(ask_refusal("analyst", sql))


@pytest.mark.parametrize("limit", ["max_memory_usage", "max_execution_time", "max_rows_to_read", "max_result_rows"])
def test_analysts_can_lower_their_limits_but_not_raise_them(migrated: Stack, limit: str) -> None:
    assert ask_rows("analyst", f"SELECT 1 SETTINGS {limit} = 20") == [(1,)]
    for lifted in (0, 3_000_000_000):
        assert f"Setting {limit} shouldn't be" in str(ask_refusal("analyst", f"SELECT 1 SETTINGS {limit} = {lifted}"))
    assert "readonly" in str(ask_refusal("analyst", "SELECT 1 SETTINGS readonly = 0"))


def test_limits_hold_inside_views(ada: UUID) -> None:
    assert "error 158 " in str(ask_refusal("analyst", "SELECT count() FROM touchline.customers SETTINGS max_rows_to_read = 1"))


@pytest.mark.parametrize("setting", ["join_use_nulls", "aggregate_functions_null_for_empty", "prefer_column_name_to_alias"])
def test_settings_of_a_client_change_no_answer(ada: UUID, setting: str) -> None:
    """Reporting tools set these. No customer here is merged; without the pinned settings, views with joins would be empty."""
    for view in load_views():
        sql = f"SELECT countIf(NOT ignore(*)) FROM touchline.{call_view(view)}"
        assert ask_rows("analyst", f"{sql} SETTINGS {setting} = 1") == ask_rows("analyst", sql), view.name


@pytest.mark.parametrize(
    ("limit", "mode"), [("max_rows_in_set", "set"), ("max_rows_to_read", "read"), ("max_bytes_in_join", "join")]
)
def test_limit_of_the_reader_never_shortens_the_lists_of_hidden_customers(ada: UUID, limit: str, mode: str) -> None:
    for _ in range(2):
        ask("INSERT INTO touchline_store.erasures (customer_id) SELECT reinterpretAsFixedString(generateUUIDv4())")
        ask("INSERT INTO touchline_store.routes (customer_id) SELECT reinterpretAsFixedString(generateUUIDv4())")
    sql = f"SELECT count() FROM touchline.touchpoints SETTINGS {limit} = 1, {mode}_overflow_mode = 'break'"
    assert "exceeded" in str(ask_refusal("analyst", sql))


def test_writer_stores_rows_and_reads_only_its_metrics(migrated: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_CLICKHOUSE_USER", "writer")
    record = resolved()
    publish("touchline.resolved", "resolved", [record])
    store()
    monkeypatch.undo()
    found = ask_value(
        "SELECT count() FROM touchline.touchpoints WHERE event_id = {id:UUID}", {"id": str(to_uuid(record["event_id"]))}
    )
    assert found == 1
    assert len(ask_rows("writer", "SELECT * FROM touchline.refreshes")) == len(REFRESHED)
    assert ask_rows("writer", INCOMPLETE) == [(ask_value(INCOMPLETE),)]
    for view in load_views():
        if view.name != "refreshes":
            assert "Not enough privileges" in str(ask_refusal("writer", f"SELECT * FROM touchline.{call_view(view)}"))
    for sql in (
        "SELECT * FROM touchline_store.touchpoints",
        "DROP TABLE touchline_store.touchpoints",
        "SELECT * FROM system.users",
    ):
        assert isinstance(ask_refusal("writer", sql), ConfigError), sql


def test_insert_without_the_role_is_refused_with_its_name(migrated: Stack) -> None:
    with (
        connect("analyst") as client,
        pytest.raises(ConfigError, match=r"access_denied\): give its user the role touchline_writer"),
    ):
        client.insert("touchline_store.routes", ("rule",), [["test"]], "token")


def test_definer_cannot_log_in(migrated: Stack) -> None:
    """Not tried by a login, because a failed native login ends the local engine."""
    (networks,) = ask("SELECT host_ip, host_names FROM system.users WHERE name = 'touchline_definer'")
    assert networks == {"host_ip": [], "host_names": []}


def test_statements_of_roles_are_valid_sql(migrated: Stack) -> None:
    """The local engine cannot create users by SQL, so it only parses the statements; the local users test the grants."""
    assert [statement for statement in role_statements() if not ask(f"EXPLAIN AST {statement}")] == []


@pytest.mark.parametrize("name", ["touchline_analyst", "touchline_pii", "touchline_writer", "touchline_definer"])
def test_local_stack_has_the_grants_of_the_sql(migrated: Stack, name: str) -> None:
    shipped = [statement for statement in role_statements() if re.search(rf"^GRANT .* ON .* TO {name}$", statement)]
    here = [row for found in ask(f"SHOW GRANTS FOR {name}") for row in found.values() if " ON " in row]
    assert sorted(map(split_words, here)) == sorted(map(split_words, shipped))


def split_words(grant: str) -> list[str]:
    return sorted(re.findall(r"[\w.*]+", grant))


def test_local_stack_has_the_limits_of_the_sql(migrated: Stack) -> None:
    (profile,) = [statement for statement in role_statements() if "PROFILE" in statement]
    limits = re.findall(r"(\w+) = (\d+)(?: MIN (\d+) MAX (\d+))?", profile)
    shipped = [(*limit, "") for limit in limits] + [(name, "", "", "", "CONST") for name in re.findall(r"(\w+) CONST", profile)]
    here = ask(
        "SELECT setting_name, ifNull(value, '') AS value, ifNull(min, '') AS min, ifNull(max, '') AS max,"
        " if(writability = 'CONST', 'CONST', '') AS writability"
        " FROM system.settings_profile_elements WHERE profile_name = 'touchline_analyst'"
    )
    assert sorted(tuple(row.values()) for row in here) == sorted(shipped)
