"""The version of a table changes with the code and schemas that make its rows, and with nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from shutil import copytree
from typing import Any

import pytest

import sinks.tables.touchpoints.table as touchpoints
from schemas.records.families import FAMILIES
from schemas.wire import registry
from sinks import versions
from sinks.contract import _load, load_tables

READINGS = {"satisfaction", "churn", "signals"}
KNOWN = READINGS | {
    "touchpoints", "journeys", "members", "evidence", "routes", "conflicts", "decisions", "revisions", "dead_letters", "replays",
    "connector_state",
}  # fmt: skip
Edit = Callable[[str, Callable[[str], str]], set[str]]


@pytest.fixture
def changed_by(monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Return the tables whose version differs after an edit of a module's text."""
    read = versions.read_source

    def change(module: str, edit: Callable[[str], str]) -> set[str]:
        assert edit(read(module)) != read(module)
        monkeypatch.setattr(versions, "read_source", lambda name: edit(read(name)) if name == module else read(name))
        return changed()

    return change


def changed() -> set[str]:
    """Return the tables whose version differs from the one at the start. Tables that this module does not name are left out."""
    return {name for name, table in load_tables().items() if name in KNOWN and _load(name).version != table.version}


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Return a copy of the frozen schemas that the code reads until the end of the test."""
    copytree(registry.FOLDER, tmp_path / "avsc")
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "avsc")
    return tmp_path / "avsc"


def test_version_is_the_same_in_every_process() -> None:
    script = "from sinks.contract import load_tables; print({name: table.version for name, table in load_tables().items()})"
    for seed in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout == f"{ {name: table.version for name, table in load_tables().items()} }\n"


@pytest.mark.parametrize(
    "module",
    [
        "schemas.service.telemetry",
        "schemas.records.dead_letter",
        "schemas.records.families.erp",
        "schemas.wire.topics",
        "sinks.clickhouse",
        "sinks.runner",
        "sinks.migrations",
    ],
)
def test_code_that_makes_no_row_leaves_every_version(changed_by: Edit, module: str) -> None:
    assert changed_by(module, lambda text: f"{text}\nADDED = 1\n") == set()
    assert changed_by(module, lambda text: re.sub(r"= (\d)", r"= 7\1", text) + "\n") == set()


@pytest.mark.parametrize("module", ["sinks.chunk", "sinks.readings", "sinks.tables.touchpoints.table", "schemas.wire.codec"])
def test_prose_in_code_that_makes_rows_leaves_every_version(changed_by: Edit, module: str) -> None:
    assert changed_by(module, lambda text: re.sub(r'"""(?=\w)', '"""In other words: ', text)) == set()
    assert changed_by(module, lambda text: f"# A comment.\n{text}\n# Another one.\n") == set()
    assert changed_by(module, lambda text: f"{text}\n\ndef unused(value: int) -> int:\n    return value\n") == set()


def test_text_of_an_error_leaves_every_version(changed_by: Edit) -> None:
    assert (
        changed_by("sinks.tables.touchpoints.table", lambda text: text.replace("which is no touchpoint", "not a touchpoint"))
        == set()
    )
    assert (
        changed_by("schemas.wire.codec", lambda text: text.replace("a record", "one record").replace("bytes follow", "bytes"))
        == set()
    )


@pytest.mark.parametrize(
    ("module", "before", "after", "tables_of"),
    [
        ("sinks.tables.touchpoints.table", "= str(value)", "= repr(value)", {"touchpoints"}),
        ("sinks.tables.dead_letters.table", "or 0", "or 1", {"dead_letters"}),
        ("sinks.tables.members.table", '"rule", "event_id"', '"event_id", "rule"', {"members"}),
        ("sinks.readings", 'driver["text"]', 'driver["text"][:9]', READINGS),
        ("sinks.tables.churn.table", '{"reading"}', '{"reading", "churn"}', {"churn"}),
    ],
)
def test_changed_row_function_changes_the_version_of_its_tables(
    changed_by: Edit, module: str, before: str, after: str, tables_of: set[str]
) -> None:
    assert changed_by(module, lambda text: text.replace(before, after)) == tables_of


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("sinks.chunk", "record.partition, record.offset)", "record.offset, record.partition)"),
        ("sinks.contract", '("record_partition", "record_offset")', '("record_offset", "record_partition")'),
        ("schemas.wire.codec", "!= len(value)", "> len(value)"),
        ("schemas.wire.reader", "-(n & 1)", "-(n & 3)"),
        ("schemas.wire.registry", 'f"{schema_versions()[schema_id]}.avsc"', 'f"{schema_versions()[schema_id]}.json"'),
    ],
)
def test_changed_decoding_changes_every_version(changed_by: Edit, module: str, before: str, after: str) -> None:
    assert changed_by(module, lambda text: text.replace(before, after)) == KNOWN


@pytest.mark.parametrize(
    ("name", "tables_of"),
    [
        ("member-1", {"members"}),
        ("route-1", {"routes"}),
        ("reading-1", READINGS),
        ("resolved-1", {"touchpoints"}),
        ("erp-1", {"touchpoints"}),
        ("connector_state-2", {"connector_state"}),
        ("tick-1", set()),
    ],
)
def test_changed_schema_changes_the_version_of_its_tables(schemas: Any, name: str, tables_of: set[str]) -> None:
    path = schemas / f"{name}.avsc"
    path.write_text(path.read_text().replace('"fields"', '"doc": "prose", "fields"', 1))
    assert changed() == set()
    path.write_text(path.read_text().replace('"name": "', '"name": "x', 1))
    assert changed() == tables_of


def test_every_event_family_is_stored_as_a_touchpoint() -> None:
    assert set(FAMILIES) == touchpoints.NESTED
    for name, model in FAMILIES.items():
        assert [field for field in model.model_fields if field not in touchpoints.KNOWN] == touchpoints.OTHERS[name]
