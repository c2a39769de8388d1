"""The cluster form: each statement is valid SQL, and two real engines as two shards answer as one server does.

The library has no Keeper and refuses `ON CLUSTER`, so here each shard is given the statements itself, with plain engines.
"""

import random
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from deploy.local.clickhouse import server
from deploy.local.ports import FREE_PORTS, Ports
from deploy.local.state import ADMIN, Stack, password_file
from schemas.errors import TouchlineError
from schemas.wire.codec import Fields
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.connection import ClickHouseSettings
from sinks.contract import load_tables
from sinks.migrations import plan
from sinks.scripts import load_views
from tests.harness.sinks import (
    NOW,
    REFRESHED,
    Stored,
    ask,
    call_view,
    encode_record,
    except_columns,
    journey,
    member,
    reading,
    resolved,
    revision,
    route,
    to_uuid,
)
from tests.harness.waiting import eventually

pytestmark = pytest.mark.integration
PASSWORD = uuid4().hex
STATEMENTS = [(step.name, each) for step in plan({}, has_sql_users=True, cluster="main") for each in step.statements]


@contextmanager
def engine(home: Path, ports: Ports, config: str) -> Iterator[ClickHouse]:
    """Run another ClickHouse with `config` in its configuration."""
    server.config(home).parent.mkdir(parents=True)
    password_file(home).write_text(PASSWORD)
    server.prepare(home, ports)
    path = server.config(home)
    path.write_text(path.read_text().replace("</clickhouse>", f"{config}</clickhouse>"))
    process = subprocess.Popen(server.command(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = ClickHouse(ClickHouseSettings(host="127.0.0.1", port=ports.clickhouse, user=ADMIN, password=SecretStr(PASSWORD)))
    try:
        eventually(lambda: server.is_ready(ports), 120)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(20)


def for_one_server(statement: str) -> str:
    """Return a statement for the cluster in a form for one server."""
    return re.sub(r"\('/touchline/migrations', [^)]*\)", "", statement.replace(" ON CLUSTER main", "").replace("Replicated", ""))


@pytest.fixture(scope="module")
def shards(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClickHouse]]:
    """Run two migrated servers as two shards of `main`."""
    places = choose_ports(2)
    known = "".join(
        f"<shard><replica><host>127.0.0.1</host><port>{ports.clickhouse}</port>"
        f"<user>{ADMIN}</user><password>{PASSWORD}</password></replica></shard>"
        for ports in places
    )
    config = f"<remote_servers><main>{known}</main></remote_servers>"
    homes = [tmp_path_factory.mktemp("shard") for _ in places]
    with engine(homes[0], places[0], config) as first, engine(homes[1], places[1], config) as second:
        for step in plan({}, has_sql_users=False, cluster="main"):
            for statement in step.statements:
                for client in (first, second) if " ON CLUSTER main" in statement else (first,):
                    client.execute(for_one_server(statement))
        yield [first, second]


def choose_ports(servers: int) -> list[Ports]:
    """Return probably free ports, two per server."""
    free = iter(random.sample(FREE_PORTS, 2 * servers))
    return [Ports(clickhouse=next(free), clickhouse_http=next(free)) for _ in range(servers)]


def insert_records(client: ClickHouse, name: str, schema: str, records: Iterable[Fields]) -> None:
    """Insert into one server as the sink does."""
    table = load_tables()[name]
    stored = [Stored(table.topic, 0, offset, encode_record(schema, record)) for offset, record in enumerate(records)]
    rows = transform(table, stored).rows
    client.insert(table.stored, table.columns, list(zip(*rows, strict=True)), uuid4().hex)


def read_view(client: ClickHouse, view: str) -> list[tuple[Any, ...]]:
    """Return the rows of a view without columns that depend on clocks."""
    columns = except_columns(view.partition("(")[0])
    return sorted(client.query(f"SELECT *{columns} FROM touchline.{view}").rows, key=repr)


@pytest.mark.parametrize(("name", "statement"), STATEMENTS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(STATEMENTS)])
def test_every_statement_is_sql_and_names_the_cluster_once(migrated: Stack, name: str, statement: str) -> None:
    assert ask(f"EXPLAIN AST {statement}"), name
    assert statement.startswith("INSERT INTO touchline_store.") or statement.count(" ON CLUSTER main") == 1


def test_every_table_is_replicated_and_read_across_shards() -> None:
    text = "\n".join(statement for _, statement in STATEMENTS)
    for name in load_tables():
        assert f"CREATE TABLE IF NOT EXISTS touchline_shard.{name} ON CLUSTER main" in text
        assert f"CREATE TABLE IF NOT EXISTS touchline_store.{name} ON CLUSTER main AS touchline_shard.{name}" in text
    assert re.findall(r"ENGINE = (?!Replicated|Distributed)\w+", text) == ["ENGINE = MergeTree"] * len(
        REFRESHED
    )  # made by each server
    assert "SETTINGS non_replicated" not in text


def test_two_shards_answer_as_one_server(shards: list[ClickHouse], tmp_path: Path) -> None:
    customers = [uuid4().bytes for _ in range(40)]
    touched = [
        resolved(customer_id=customer, amount=10_000, currency="EUR", occurred_at=NOW + step)
        for customer in customers
        for step in range(5)
    ]
    with engine(tmp_path, choose_ports(1)[0], "") as one:
        for step in plan({}, has_sql_users=False):
            for statement in step.statements:
                one.execute(statement)
        inputs: dict[tuple[str, str], list[Fields]] = {
            ("touchpoints", "resolved"): touched,
            ("routes", "route"): [route(customers[0], customers[1]), route(customers[2], customers[1])],
            ("revisions", "customer"): [revision(customers[0], 1), revision(customers[2], 1)],
            ("members", "member"): [member(customer, customer) for customer in customers],
            ("satisfaction", "reading"): [reading(customer_id=customer, value=50.0) for customer in customers],
            ("churn", "reading"): [reading(customer_id=customer, signal="churn", value=0.5) for customer in customers],
            ("journeys", "journey"): [journey(customer_id=customer) for customer in customers],
        }
        for (name, schema), records in inputs.items():
            for client in (*shards, one):  # both shards are given everything, so that copies must meet
                insert_records(client, name, schema, records)
        for client in (*shards, one):
            for made in REFRESHED:
                client.execute(f"SYSTEM REFRESH VIEW touchline_store.{made}")
                client.execute(f"SYSTEM WAIT VIEW touchline_store.{made}")
        for shard in shards:
            spread = shard.query("SELECT count() FROM touchline_shard.touchpoints_by_event").rows[0][0]
            assert 0 < spread < 2 * len(touched)
            for view in load_views():
                assert read_view(shard, call_view(view)) == read_view(one, call_view(view)), view.name
        assert len(read_view(shards[0], "touchpoints")) == len(touched)
        merged = shards[1].query(f"SELECT touchpoints FROM touchline.customers WHERE customer_id = '{to_uuid(customers[1])}'")
        assert merged.rows == [(15,)]
        for shard in shards:
            of = f"customers_of(customer_id = '{to_uuid(customers[1])}')"
            assert [row[:1] for row in shard.query(f"SELECT touchpoints FROM touchline.{of}").rows] == [(15,)]
            days = "pain_points_between(since = '2020-01-01', until = '2030-01-01')"
            assert shard.query(f"SELECT sum(touchpoints), sum(customers) FROM touchline.{days}").rows == [(200, 38)]


def test_refreshes_show_the_oldest_server(shards: list[ClickHouse]) -> None:
    def read_refreshes(client: ClickHouse) -> list[tuple[Any, ...]]:
        return client.query("SELECT made_at, error FROM touchline.refreshes WHERE table = 'changes_by_day'").rows

    def rebuild() -> None:
        for shard in shards:
            with suppress(TouchlineError):  # one that fails says so to whoever waits for it
                shard.execute("SYSTEM REFRESH VIEW touchline_store.satisfaction_to_day")
                shard.execute("SYSTEM WAIT VIEW touchline_store.satisfaction_to_day")

    rebuild()
    before = read_refreshes(shards[0])
    shards[1].execute("RENAME TABLE touchline_shard.satisfaction_by_customer TO touchline_shard.away")
    try:
        time.sleep(1.1)  # times of refreshes are whole seconds
        rebuild()
        failed = [read_refreshes(shard) for shard in shards]
    finally:
        shards[1].execute("RENAME TABLE touchline_shard.away TO touchline_shard.satisfaction_by_customer")
    assert failed[0] == failed[1]
    ((made_at, error),) = failed[0]
    assert made_at <= before[0][0] + timedelta(seconds=1)
    assert "touchline_shard.satisfaction_by_customer" in error
    rebuild()
    ((made_at_last, mended),) = read_refreshes(shards[0])
    assert made_at_last > made_at
    assert mended == ""
