"""Who may read and write what, asked of the real engine as each of the local stack's users."""

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
from sinks.migrations import ROLES, Script, views
from sinks.rights.masks import MASKS, masks
from tests.harness.sinks import ANEW, ask, called, only, publish, resolved, shown, store

pytestmark = pytest.mark.integration
READERS = ("analyst", "analyst_pii")
TEXT, NAME = "my number is 0151 2345", "Ada Example"


@contextmanager
def connected(user: str) -> Iterator[ClickHouse]:
    client = ClickHouse(ClickHouseSettings(user=user))
    try:
        yield client
    finally:
        client.close()


def rows(user: str, sql: str) -> list[tuple[Any, ...]]:
    with connected(user) as client:
        return client.query(sql).rows


def refusal(user: str, sql: str) -> TouchlineError:
    with connected(user) as client, pytest.raises((ConfigError, FatalError, UnavailableError)) as caught:
        client.query(sql)
    return caught.value


@pytest.fixture(scope="module")
def ada(migrated: Stack) -> UUID:
    """A customer who said and is something personal."""
    customer = uuid4().bytes
    said = {"segment": "home", "name": NAME}
    publish("touchline.resolved", "resolved", [resolved(customer_id=customer, source="crm", text=TEXT, attributes=said)])
    publish("touchline.resolved", "resolved", [resolved(customer_id=customer)])
    store("touchpoints")
    return shown(customer)


@pytest.mark.parametrize(("user", "view"), product(READERS, [called(view) for view in views()]))
def test_analysts_read_every_view(migrated: Stack, user: str, view: str) -> None:
    assert rows(user, f"SELECT count() FROM (SELECT * FROM touchline.{view})")[0][0] >= 0


@pytest.mark.parametrize("user", READERS)
def test_analysts_are_refused_everything_else(migrated: Stack, user: str) -> None:
    for sql in (
        "SELECT text FROM touchline_store.touchpoints",
        "SELECT count() FROM touchline_store.touchpoints",
        "INSERT INTO touchline_store.merges (rule) SELECT 'none'",
        "INSERT INTO touchline.merges (rule) SELECT 'none'",
        "DROP VIEW touchline.touchpoints",
        "CREATE OR REPLACE VIEW touchline.touchpoints AS SELECT 1",
        "ALTER TABLE touchline_store.touchpoints DELETE WHERE 1",
        "GRANT touchline_pii TO analyst",
        "SELECT * FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SYSTEM STOP MERGES touchline_store.touchpoints",
    ):
        assert isinstance(refusal(user, sql), ConfigError), sql


def test_personal_data_is_masked_unless_granted(ada: UUID) -> None:
    clear = [(TEXT, {"segment": "home", "name": NAME}), (None, {})]
    for told in (f"touchpoints WHERE customer_id = '{ada}'", f"touchpoints_of(customer_id = '{ada}')"):
        sql = f"SELECT text, attributes FROM touchline.{told} ORDER BY isNull(text)"
        assert rows("analyst", sql) == [("***", {"segment": "home", "name": "***"}), (None, {})]
        assert rows("analyst_pii", sql) == clear
        assert rows("default", sql) == clear


def test_masked_values_cannot_be_searched(ada: UUID) -> None:
    search = f"SELECT count() FROM touchline.touchpoints WHERE text LIKE '%0151%' AND customer_id = '{ada}'"
    assert [rows(user, search) for user in READERS] == [[(0,)], [(1,)]]


def test_views_that_need_personal_data_find_it_for_everyone(ada: UUID) -> None:
    sql = f"SELECT segment FROM touchline.customers WHERE customer_id = '{ada}'"
    assert [rows(user, sql) for user in READERS] == [[("home",)], [("home",)]]


@pytest.mark.parametrize(("view", "column"), [(called(view), column) for view in views() for column in masks(view.name)])
def test_no_way_round_a_mask(migrated: Stack, view: str, column: str) -> None:
    for sql in (f"SELECT {column} FROM touchline_unmasked.{view}", f"SELECT * FROM touchline_unmasked.{view}"):
        assert "Not enough privileges" in str(refusal("analyst", sql))
        assert "Not enough privileges" in str(refusal("writer", sql))
        assert rows("analyst_pii", f"SELECT count() FROM ({sql})")[0][0] >= 0


def test_who_claims_to_be_another_server_sees_no_more(ada: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a query may name any user as its first: `currentUser()` believes it, so the masks do not ask it."""
    write = ClientInfo.write

    def claim(self: Any, *arguments: Any) -> None:
        self.query_kind, self.initial_user = ClientInfo.QueryKind.SECONDARY_QUERY, "default"
        write(self, *arguments)

    monkeypatch.setattr(ClientInfo, "write", claim)
    assert rows("analyst", "SELECT currentUser(), enabledRoles()") == [("default", ["touchline_analyst"])]
    said = refusal("analyst", f"SELECT text FROM touchline.touchpoints WHERE customer_id = '{ada}'")
    assert "Not enough privileges" in str(said)


def test_columns_said_to_be_personal_are_masked(migrated: Stack) -> None:
    """A comment of a view that says `personal data` and a mask come together."""
    said = ask("SELECT table, name FROM system.columns WHERE database = 'touchline' AND comment LIKE '%personal data%'")
    assert {(row["table"], row["name"]) for row in said} <= {
        (view, column) for view, masked in MASKS.items() for column in masked
    }


@pytest.mark.parametrize(
    ("limit", "sql"),
    [
        ("error 158 ", "SELECT count() FROM numbers(2000000000)"),
        ("memory_limit_exceeded", "SELECT groupArray(number) FROM numbers(900000000) FORMAT Null"),
        ("error 396 ", "SELECT number FROM numbers(1000001)"),
        ("timeout_exceeded", "SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_execution_time = 1"),
    ],
)
def test_a_query_over_the_limits_ends(migrated: Stack, limit: str, sql: str) -> None:
    assert limit in str(refusal("analyst", sql))


@pytest.mark.parametrize("limit", ["max_memory_usage", "max_execution_time", "max_rows_to_read", "max_result_rows"])
def test_analysts_lower_their_limits_and_never_lift_them(migrated: Stack, limit: str) -> None:
    assert rows("analyst", f"SELECT 1 SETTINGS {limit} = 20") == [(1,)]
    for lifted in (0, 3_000_000_000):
        assert f"Setting {limit} shouldn't be" in str(refusal("analyst", f"SELECT 1 SETTINGS {limit} = {lifted}"))
    assert "readonly" in str(refusal("analyst", "SELECT 1 SETTINGS readonly = 0"))


def test_limits_hold_inside_views(ada: UUID) -> None:
    assert "error 158 " in str(refusal("analyst", "SELECT count() FROM touchline.customers SETTINGS max_rows_to_read = 1"))


@pytest.mark.parametrize("setting", ["join_use_nulls", "aggregate_functions_null_for_empty", "prefer_column_name_to_alias"])
def test_what_a_readers_client_has_set_changes_no_answer(ada: UUID, setting: str) -> None:
    """As tools for reports set them: nobody here was merged, and without its pin a view of joins would show nobody."""
    for view in views():
        sql = f"SELECT countIf(NOT ignore(*)) FROM touchline.{called(view)}"
        assert rows("analyst", f"{sql} SETTINGS {setting} = 1") == rows("analyst", sql), view.name


@pytest.mark.parametrize(
    ("limit", "mode"), [("max_rows_in_set", "set"), ("max_rows_to_read", "read"), ("max_bytes_in_join", "join")]
)
def test_a_limit_of_the_reader_never_shortens_the_lists_of_who_is_hidden(ada: UUID, limit: str, mode: str) -> None:
    for _ in range(2):
        ask("INSERT INTO touchline_store.erasures (customer_id) SELECT reinterpretAsFixedString(generateUUIDv4())")
        ask("INSERT INTO touchline_store.merges (from_customer) SELECT reinterpretAsFixedString(generateUUIDv4())")
    sql = f"SELECT count() FROM touchline.touchpoints SETTINGS {limit} = 1, {mode}_overflow_mode = 'break'"
    assert "exceeded" in str(refusal("analyst", sql))


def test_the_writer_stores_and_reads_only_how_old_tables_are(migrated: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_CLICKHOUSE_USER", "writer")
    record = resolved()
    publish("touchline.resolved", "resolved", [record])
    store()
    monkeypatch.undo()
    found = only("SELECT count() FROM touchline.touchpoints WHERE event_id = {id:UUID}", {"id": str(shown(record["event_id"]))})
    assert found == 1
    assert len(rows("writer", "SELECT * FROM touchline.refreshes")) == len(ANEW)
    for view in views():
        if view.name != "refreshes":
            assert "Not enough privileges" in str(refusal("writer", f"SELECT * FROM touchline.{called(view)}"))
    for sql in (
        "SELECT * FROM touchline_store.touchpoints",
        "DROP TABLE touchline_store.touchpoints",
        "SELECT * FROM system.users",
    ):
        assert isinstance(refusal("writer", sql), ConfigError), sql


def test_an_insert_without_the_role_is_told_which_one(migrated: Stack) -> None:
    with (
        connected("analyst") as client,
        pytest.raises(ConfigError, match=r"access_denied\): give its user the role touchline_writer"),
    ):
        client.insert("touchline_store.merges", ("rule",), [["test"]], "token")


def test_the_definer_cannot_log_in(migrated: Stack) -> None:
    """Over HTTP: a login that fails on the native port ends the library's process."""
    (networks,) = ask("SELECT host_ip, host_names FROM system.users WHERE name = 'touchline_definer'")
    assert networks == {"host_ip": [], "host_names": []}


def roles() -> list[str]:
    return Script("roles", ROLES.read_text()).statements


def test_every_statement_for_other_servers_is_sql(migrated: Stack) -> None:
    """The library makes no users by SQL, so it only parses the file; what the file grants is tried through the local users."""
    assert [statement for statement in roles() if not ask(f"EXPLAIN AST {statement}")] == []


@pytest.mark.parametrize("name", ["touchline_analyst", "touchline_pii", "touchline_writer", "touchline_definer"])
def test_the_local_stack_grants_what_the_sql_grants(migrated: Stack, name: str) -> None:
    shipped = [statement for statement in roles() if re.search(rf"(TO|FROM) {name}$", statement) and " ON " in statement]
    here = [row for found in ask(f"SHOW GRANTS FOR {name}") for row in found.values() if " ON " in row]
    assert sorted(map(words, here)) == sorted(map(words, shipped))


def words(grant: str) -> list[str]:
    return sorted(re.findall(r"[\w.*]+", grant))


def test_the_local_stack_limits_what_the_sql_limits(migrated: Stack) -> None:
    (profile,) = [statement for statement in roles() if "PROFILE" in statement]
    shipped = re.findall(r"(\w+) = (\d+)(?: MIN (\d+) MAX (\d+))?", profile)
    here = ask(
        "SELECT setting_name, value, ifNull(min, '') AS min, ifNull(max, '') AS max FROM system.settings_profile_elements"
        " WHERE profile_name = 'touchline_analyst'"
    )
    assert sorted(tuple(row.values()) for row in here) == sorted(shipped)
