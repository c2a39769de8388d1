"""Faults of a tap, simulated by a test tap; no server is needed."""

import gc
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Batch, Connector, Cursor, Record, RejectedRecord
from connectors.settings import open_connector
from connectors.taps import cases
from connectors.taps.connector import MAX_BATCH_RECORDS
from connectors.taps.progress import MAX_ROWS, Progress
from schemas.errors import ConfigError, RetryableError
from tests.harness.memory_use import max_live_objects
from tests.harness.waiting import eventually

TAP = Path(cases.__file__).with_name("tap.py")
NAMES = {"singer": "shop-orders", "airbyte": "orders"}


@pytest.fixture(params=NAMES)
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def open_source(folder: Path, protocol: str, config: dict[str, Any] | None = None, **changes: Any) -> Connector:
    stream = {
        "stream": NAMES[protocol],
        "source": "erp",
        "system": "shop",
        "columns": ["id", "changed_at", "customer"],
        "version": "changed_at",
        "map": {
            "type": "'order.placed'",
            "channel": "'web'",
            "occurred_at": "iso(changed_at, 'UTC')",
            "identifiers": {"erp_party": "id(customer)"},
        },
    }
    settings = {
        "name": "tap",
        "root": str(folder),
        "protocol": protocol,
        "command": [sys.executable, str(TAP)],
        "config": {"rows": "rows.jsonl", "key": ["id"], "state_every": 7, **(config or {})},
        "log": "log",
        "streams": {"orders": {**stream, **changes.pop("stream", {})}},
        **changes,
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return open_connector("taps", path, {})


def fill(folder: Path, count: int, same: int = 3) -> Counter[str]:
    """Write rows, `same` of them per second, and return their keys."""
    rows = [
        {"id": n, "changed_at": f"2026-03-01T{n // same // 60:02}:{n // same % 60:02}:00Z", "customer": f"c{n}"}
        for n in range(count)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Counter(str(row["id"]) for row in rows)


def keys(batch: Batch) -> list[str]:
    return [record.key for record in batch.records if isinstance(record, Record)]


def read(connector: Connector, cursor: Cursor | None = None) -> tuple[Counter[str], Cursor]:
    found: Counter[str] = Counter()
    for batch in connector.read("orders", cursor):
        found.update(keys(batch))
        cursor = json.loads(json.dumps(dict(batch.cursor)))
    assert cursor is not None
    return found, cursor


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate folder, because other processes run such tests at the same time."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def leftover_folders() -> list[Path]:
    return list(Path(gettempdir()).glob("touchline-tap-*"))


def test_read_resumed_after_any_batch_neither_loses_nor_repeats_rows(tmp_path: Path, protocol: str) -> None:
    wanted = fill(tmp_path, 20)
    whole = list(open_source(tmp_path, protocol).read("orders", None))
    assert [len(batch.records) for batch in whole] == [7, 7, 6, 0]
    for cut in range(1, len(whole)):
        before = Counter(key for batch in whole[:cut] for key in keys(batch))
        after, _ = read(open_source(tmp_path, protocol), whole[cut - 1].cursor)
        assert before + after == wanted, f"after batch {cut}"


def test_batch_without_state_has_500_rows_and_rows_are_read_once(tmp_path: Path, protocol: str) -> None:
    wanted = fill(tmp_path, 1_200)
    connector = open_source(tmp_path, protocol, {"state_every": 1_000_000})
    batches = connector.read("orders", None)
    first = [next(batches), next(batches)]
    del batches
    assert [len(batch.records) for batch in first] == [500, 500]
    assert first[-1].cursor["state"] is None
    assert Counter(key for batch in first for key in keys(batch)) + read(connector, first[-1].cursor)[0] == wanted


@pytest.mark.parametrize("every", [500, 1_000_000])
def test_at_most_two_batches_are_in_memory(tmp_path: Path, protocol: str, every: int) -> None:
    fill(tmp_path, 8 * MAX_BATCH_RECORDS)
    batches = open_source(tmp_path, protocol, {"state_every": every}).read("orders", None)
    assert 0 < max_live_objects(batches, Record, 8) <= 2 * MAX_BATCH_RECORDS


def test_crash_repeats_only_rows_beyond_the_remembered_hashes(tmp_path: Path) -> None:
    wanted = fill(tmp_path, 6_000)
    connector = open_source(tmp_path, "singer", {"state_every": 1_000_000})
    batches = connector.read("orders", None)
    first = [next(batches) for _ in range(11)]
    del batches
    again, _ = read(connector, first[-1].cursor)
    assert again == wanted - Counter(str(number) for number in range(5_500 - MAX_ROWS, 5_500))


def test_later_round_reads_only_new_rows(tmp_path: Path, protocol: str) -> None:
    fill(tmp_path, 20)
    connector = open_source(tmp_path, protocol)
    _, cursor = read(connector)
    assert read(connector, cursor)[0] == Counter()
    fill(tmp_path, 22)
    assert read(connector, cursor)[0] == Counter(["20", "21"])


@pytest.mark.parametrize("kind", ["die", "half"])
def test_failed_tap_is_retried_from_its_last_state(tmp_path: Path, protocol: str, kind: str) -> None:
    wanted = fill(tmp_path, 20)
    broken = open_source(tmp_path, protocol, {"fault": {"kind": kind, "after": 10}})
    batches = broken.read("orders", None)
    first = next(batches)
    assert len(first.records) == 7
    with pytest.raises(RetryableError, match="exit code 3" if kind == "die" else "middle of a line"):
        next(batches)
    assert Counter(keys(first)) + read(open_source(tmp_path, protocol), first.cursor)[0] == wanted
    assert leftover_folders() == []


def test_hanging_tap_is_ended_with_its_children(tmp_path: Path, protocol: str) -> None:
    fill(tmp_path, 20)
    fault = {"kind": "hang", "after": 10, "pids": str(tmp_path / "pids")}
    connector = open_source(tmp_path, protocol, {"fault": fault}, timeout_seconds=2)
    with pytest.raises(RetryableError, match="wrote nothing for 2 s, longer than timeout_seconds"):
        read(connector)
    eventually(lambda: not any(is_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split()), 5)


def test_abandoned_tap_is_ended_at_once(tmp_path: Path, protocol: str) -> None:
    fill(tmp_path, 20)
    fault = {"kind": "hang", "after": 10, "pids": str(tmp_path / "pids")}
    batches = open_source(tmp_path, protocol, {"fault": fault}).read("orders", None)
    next(batches)
    eventually((tmp_path / "pids").exists, 20)
    began = time.monotonic()
    del batches
    gc.collect()
    assert time.monotonic() - began < 4
    eventually(lambda: not any(is_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split()), 5)
    assert leftover_folders() == []


def is_alive(pid: int) -> bool:
    """Return whether the process runs; zombies do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_rows_before_silence_are_published_during_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 20)
    monkeypatch.setattr("connectors.taps.process.QUIET_SECONDS", 0.5)
    fault = {"kind": "hang", "after": 10, "pids": str(tmp_path / "pids")}
    batches = open_source(tmp_path, "singer", {"fault": fault, "state_every": 1_000_000}).read("orders", None)
    found = [len(next(batches).records) for _ in range(8)]
    assert sum(found) == 10
    assert found[-1] == 0


def test_config_error_of_airbyte_source_is_config_error(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    connector = open_source(tmp_path, "airbyte", {"fault": {"kind": "config", "after": 10}})
    with pytest.raises(ConfigError, match=r"^tap.py reports a wrong config: see .*log$"):
        read(connector)
    assert "no such account" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("singer", {"command": ["/nowhere/tap"]}, r"^command: cannot run /nowhere/tap in .*: No such file"),
        (
            "singer",
            {"command": [sys.executable, "-c", "print('hello')"]},
            "returned no catalog: is it a tap of the protocol singer",
        ),
        (
            "airbyte",
            {"command": [sys.executable, "-c", "print('hello')"]},
            "returned no catalog: is it a tap of the protocol airbyte",
        ),
        ("singer", {"stream": {"stream": "orders"}}, "tap.py has no orders; it has shop-orders"),
        ("singer", {"stream": {"columns": ["changed_at", "customer"]}}, "reads column id, which `columns` does not list"),
        ("singer", {"log": "nowhere/log"}, "log: cannot write .*/nowhere/log: No such file"),
        ("singer", {"config": {"api_key": "in clear"}}, "api_key: a secret does not belong in a file"),
        ("airbyte", {"config": {"credentials": {"client_secret": "in clear"}}}, "credentials.client_secret: a secret does not"),
        ("airbyte", {"config": {"accounts": [{"apiKey": "in clear"}]}}, "accounts.0.apiKey: a secret does not belong"),
        ("singer", {"config": {"password": "${NOT_SET_HERE}"}}, "config.password: set the environment variable NOT_SET_HERE"),
    ],
)
def test_check_names_setting_to_change(tmp_path: Path, protocol: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(tmp_path, protocol, **changes).check()


def test_failed_check_is_retryable(tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match=r"^tap.py cannot read its source: see .*log$"):
        open_source(tmp_path, "airbyte", {"fault": {"kind": "unreachable"}}).check()
    with pytest.raises(RetryableError, match=r"ended with exit code 1: see .*log$"):
        open_source(tmp_path, "singer", command=[sys.executable, "-c", "raise SystemExit(1)"]).check()


@pytest.mark.parametrize(("key", "count"), [(["id", "customer"], 2), (["id"], 2), (["changed_at"], 1), ([], 2)])
def test_rows_are_identified_by_all_key_columns_or_by_hash(tmp_path: Path, protocol: str, key: list[str], count: int) -> None:
    rows = [{"id": one, "changed_at": "2026-03-01T00:00:00Z", "customer": other} for one, other in (("a-b", "c"), ("a", "b-c"))]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    connector = open_source(tmp_path, protocol, {"key": key})
    found = [one for batch in connector.read("orders", None) for one in batch.records if isinstance(one, Record)]
    assert len(found) == 2
    assert len({connector.map_record(record).event_id for record in found}) == count


def test_tap_does_not_inherit_touchline_variables(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(any(name.startswith('TOUCHLINE_') for name in os.environ) or 'SHOP' not in os.environ)"
    with (
        patch.dict(os.environ, TOUCHLINE_SHOP_TOKEN="secret", SHOP="open"),
        pytest.raises(ConfigError, match="returned no catalog"),
    ):
        open_source(tmp_path, "singer", command=[sys.executable, "-c", program]).check()


def test_too_long_line_is_rejected_and_reading_continues(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with (tmp_path / "rows.jsonl").open("a") as rows:
        rows.write("x" * 9_000_000 + '\n{"id": 7, "changed_at": "2026-03-02T00:00:00Z", "customer": "c7"}\n')
    found = [one for batch in open_source(tmp_path, "singer").read("orders", None) for one in batch.records]
    assert [type(one) for one in found] == [Record, RejectedRecord, Record]
    assert isinstance(found[1], RejectedRecord)
    assert (found[1].size, found[1].error.reason) == (9_000_000, "too_long")


@given(st.lists(st.binary(max_size=3), max_size=60), st.integers(0, 60))
def test_rows_before_cursor_are_not_new_after_it(rows: list[bytes], cut: int) -> None:
    before = Progress(None)
    for row in rows[:cut]:
        before.add(row)
    after = Progress(json.loads(json.dumps(dict(before.create_cursor()))))
    assert [row for row in dict.fromkeys(rows) if after.add(row)] == [row for row in dict.fromkeys(rows) if row not in rows[:cut]]


@pytest.mark.parametrize("size", [0, 30_000, 64_990])
def test_cursor_is_small_for_any_state(size: int) -> None:
    progress = Progress(None)
    progress.state = "s" * size
    assert all(progress.add(b"%d" % number) for number in range(2 * MAX_ROWS))
    cursor = progress.create_cursor()
    assert len(json.dumps(dict(cursor))) < 65_536
    assert Progress(cursor).add(b"0")
    assert Progress(cursor).add(b"%d" % (2 * MAX_ROWS - 1)) == (size > 64_000)
    progress.state = "s" * 65_100
    with pytest.raises(ConfigError, match="let the tap read fewer partitions"):
        progress.create_cursor()
