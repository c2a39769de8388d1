"""The `cases/` of all tables: a record, its row, and the same row from a real engine. A new table needs no new test.

In the files, 16 bytes stand as a UUID, other bytes as text or as the record that they hold in the wire format, times as
milliseconds since 1970. Fields with a default may be left out. `(field)` in a row stands for the bytes of this field.
"""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.state import Stack
from schemas.wire.codec import encode
from schemas.wire.registry import load_schema, newest_ids
from sinks.chunk import Record, transform
from sinks.clickhouse import ClickHouse
from sinks.contract import FOLDER, RECORD, Table, load_tables
from tests.harness.sinks import Stored, ask

CASES = sorted(FOLDER.glob("*/cases/*.json"))
CASE = pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
TABLE = pytest.mark.parametrize("table", load_tables().values(), ids=lambda table: table.name)


def test_every_table_has_cases() -> None:
    assert {path.parent.parent.name for path in CASES} == set(load_tables())


@CASE
def test_record_becomes_the_row(path: Path) -> None:
    case, table = json.loads(path.read_text()), load_tables()[path.parent.parent.name]
    (row,) = transform(table, [make_record(table, case)]).rows
    assert to_case_form(dict(zip(table.columns, row, strict=True))) == expected_row(case)


@TABLE
def test_row_is_a_function_of_the_record(table: Table) -> None:
    case = json.loads(next(path for path in CASES if path.parent.parent.name == table.name).read_text())
    assert transform(table, [make_record(table, case)]).rows == transform(table, [make_record(table, case)]).rows


@pytest.mark.integration
@CASE
def test_row_reads_back_as_it_was_written(path: Path, migrated: Stack) -> None:
    case, table = json.loads(path.read_text()), load_tables()[path.parent.parent.name]
    (row,) = transform(table, [make_record(table, case)]).rows
    client, scratch = ClickHouse(), f"touchline_store.case_{uuid4().hex}"
    try:
        client.execute(f"CREATE TABLE {scratch} AS {table.stored} ENGINE = MergeTree PRIMARY KEY tuple() ORDER BY tuple()")
        client.insert(scratch, table.columns, [[value] for value in row], "once")
        (back,) = ask(f"SELECT {', '.join(make_expressions(table))} FROM {scratch}")
    finally:
        client.execute(f"DROP TABLE {scratch}")
        client.close()
    assert to_case_form(back) == expected_row(case)


@pytest.mark.integration
@TABLE
def test_table_has_the_declared_columns_and_stored_at(table: Table, migrated: Stack) -> None:
    """ClickHouse computes the columns after stored_at."""
    found = [name for name, _ in read_columns(table)]
    assert found[: len(table.columns) + 1] == [*table.columns, "stored_at"]
    sql = "SELECT name FROM system.columns WHERE database || '.' || table = {name:String} AND default_kind != ''"
    assert set(found[len(table.columns) :]) <= {row["name"] for row in ask(sql, {"name": table.stored})}


@pytest.mark.integration
@TABLE
def test_stored_table_and_its_columns_have_comments(table: Table, migrated: Stack) -> None:
    """The sort key contains the customer only if the id of the row is that of the customer or contains it: it never changes."""
    name = table.stored.removeprefix("touchline_store.")
    parameters = {"name": name}
    columns = "SELECT name FROM system.columns WHERE database = 'touchline_store' AND table = {name:String} AND comment = ''"
    assert ask(columns, parameters) == []
    sql = "SELECT comment, engine_full FROM system.tables WHERE database = 'touchline_store' AND name = {name:String}"
    (described,) = ask(sql, parameters)
    assert "kept for ever" in described["comment"]
    assert "ReplacingMergeTree" in described["engine_full"]
    has_customer = "customer_id" in described["engine_full"].partition("ORDER BY")[2]
    assert has_customer == (name.endswith("_by_customer") or table.columns[0] == "customer_id")


def expected_row(case: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a case with its position, and with the bytes of a record's field for `(field)`."""
    row = {**case["row"], "record_partition": 5, "record_offset": 77}
    for name, value in row.items():
        if isinstance(value, str) and value.startswith("("):
            row[name] = to_case_form(encode_case(case["record"][value.strip("()")]))
    return row


def make_record(table: Table, case: dict[str, Any]) -> Record:
    return Stored(table.topic, 5, 77, encode_case(case))


def encode_case(case: dict[str, Any]) -> bytes:
    """Return the bytes of {"schema": name, "record": fields}."""
    return encode(case["schema"], fit_to_schema(load_schema(newest_ids()[case["schema"]]), case["record"]))


def fit_to_schema(schema: Any, value: Any) -> Any:
    """Return a JSON value for Avro, with UUIDs, text and records as bytes where the schema has bytes."""
    if isinstance(schema, list):
        return None if value is None else fit_to_schema(schema[1], value)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        types = {field["name"]: field["type"] for field in schema["fields"]}
        return {name: fit_to_schema(types[name], each) for name, each in value.items()}
    if kind == "array":
        return [fit_to_schema(schema["items"], each) for each in value]
    if kind in ("fixed", "touchline.Id"):
        return UUID(value).bytes
    if kind == "bytes":
        return encode_case(value) if isinstance(value, dict) else value.encode()
    return value


def to_case_form(value: Any) -> Any:
    """Return a row in the form of the case files."""
    if isinstance(value, dict):
        return {name: to_case_form(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_case_form(each) for each in value]
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else value.decode(errors="backslashreplace")
    return int(value) if isinstance(value, bool) else value


def read_columns(table: Table) -> list[tuple[str, str]]:
    sql = "SELECT name, type FROM system.columns WHERE database || '.' || table = {name:String} ORDER BY position"
    found = ask(sql, {"name": table.stored})
    return [(row["name"], row["type"]) for row in found]


def make_expressions(table: Table) -> list[str]:
    """Return the expressions that select each column in the form of the case files."""
    shapes = {
        "FixedString(16)": "toString(UUIDNumToString({0}))",
        "Nullable(FixedString(16))": "UUIDNumToString({0})",
        "Array(FixedString(16))": "arrayMap(id -> toString(UUIDNumToString(id)), {0})",
        "DateTime64(3, 'UTC')": "toUnixTimestamp64Milli({0})",
        "Nullable(DateTime64(3, 'UTC'))": "toUnixTimestamp64Milli({0})",
    }
    declared = [(name, kind) for name, kind in read_columns(table) if name in {*table.columns, *RECORD}]
    return [f"{shapes.get(kind, '{0}').format(name)} AS `{name}`" for name, kind in declared]
