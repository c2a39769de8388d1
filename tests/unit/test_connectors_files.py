"""Files as streams: files that are read again or skipped, and reading that resumes after any batch."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.contract import Batch, Cursor, Phase, Record
from connectors.files import connector as files
from connectors.files.row import Row
from connectors.files.settings import FilesSettings
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from schemas.errors import ConfigError, RetryableError
from tests.harness.connectors import select_new
from tests.harness.memory_use import max_live_objects

FEEDS: dict[str, Any] = {
    "orders": {
        "files": "**/*.csv",
        "format": "csv",
        "source": "erp",
        "system": "s",
        "header": ["key", "at", "party"],
        "map": {
            "type": "'order.placed'",
            "channel": "'web'",
            "occurred_at": "iso(at, 'UTC')",
            "identifiers": {"erp_party": "id(party)"},
        },
    }
}
LINES = st.sampled_from(
    [
        b"1,2026-01-01,a\n",
        b"2,2026-01-01,b\n",
        b"3,never,c\n",
        b"4,2026-01-01\n",
        b"\n",
        b'5,"2026-01-01\n',
        b'6,2026-01-01,"x\ny"\n',
    ]
)


def open_files(root: Path, *, keyed: bool = False, **others: Any) -> files.Connector:
    feeds = {"orders": {**FEEDS["orders"], "key": "key", "version": "at"}} if keyed else FEEDS
    return files.Connector(FilesSettings.model_validate({"name": "c", "root": root, "feeds": feeds, **others}))


def read(connector: files.Connector, stream: str, cursor: Cursor | None) -> list[tuple[Batch, NewRecords]]:
    deduplication = StreamDeduplication(None, connector.describe_stream(stream))
    batches = [(batch, select_new(connector, stream, batch, deduplication)) for batch in connector.read(stream, cursor)]
    return [(batch, part) for batch, part in batches if batch.phase is not Phase.REPLAY]


def ids(parts: list[tuple[Batch, NewRecords]]) -> list[bytes]:
    return [value[5:21] for _, part in parts for _, value in part.touchpoints]


def counts(parts: list[tuple[Batch, NewRecords]]) -> tuple[int, int, int, int]:
    return (
        sum(len(batch.records) for batch, _ in parts),
        sum(len(part.touchpoints) for _, part in parts),
        sum(len(part.dead_letters) for _, part in parts),
        sum(part.repeated for _, part in parts),
    )


@settings(deadline=None)
@given(content=st.lists(LINES, max_size=40).map(b"".join), size=st.integers(1, 5), keyed=st.booleans())
def test_reading_that_resumes_after_any_batch_gives_the_same_ids_and_totals(content: bytes, size: int, *, keyed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(files, "MAX_BATCH_RECORDS", size):
        (Path(folder) / "a.csv").write_bytes(content)
        connector = open_files(Path(folder), keyed=keyed)
        whole = read(connector, "orders:a.csv", None)
        for cut in range(len(whole) + 1):
            cursor = json.loads(json.dumps(dict(whole[cut - 1][0].cursor))) if cut else None
            again = whole[:cut] + read(open_files(Path(folder), keyed=keyed), "orders:a.csv", cursor)
            assert ids(again) == ids(whole)
            assert counts(again) == counts(whole)
        assert len(set(ids(whole))) == len(ids(whole))


def test_complete_file_is_not_listed_again_and_a_touched_one_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2026-01-01,a\n")
    connector = open_files(tmp_path)
    cursor = read(connector, "orders:a.csv", None)[-1][0].cursor
    assert cursor["done"]
    assert list(connector.list_streams({"orders:a.csv": cursor})) == []
    os.utime(path, ns=(1, 1))
    assert list(connector.list_streams({"orders:a.csv": cursor})) == ["orders:a.csv"]
    [(batch, part)] = read(connector, "orders:a.csv", cursor)
    assert (batch.records, batch.phase, part.touchpoints, batch.cursor["mtime_ns"]) == ((), Phase.NEXT, [], 1)


def test_same_content_under_a_second_name_is_not_read(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(b"1,2026-01-01,a\n")
    connector = open_files(tmp_path)
    saved: dict[str, Cursor] = {}
    found = {}
    for stream in connector.list_streams(saved):
        found[stream] = read(connector, stream, None)
        saved[stream] = found[stream][-1][0].cursor
    assert counts(found["orders:a.csv"]) == (1, 1, 0, 0)
    assert counts(found["orders:b.csv"]) == (0, 0, 0, 0)
    assert list(open_files(tmp_path).list_streams(saved)) == []


def test_grown_file_is_read_from_its_start_with_the_same_ids_and_new_totals(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2026-01-01,a\n1,2026-01-01,a\n")
    before = read(open_files(tmp_path), "orders:a.csv", None)
    path.write_bytes(b"1,2026-01-01,a\n1,2026-01-01,a\n2,2026-01-01,b\n")
    after = read(open_files(tmp_path), "orders:a.csv", before[-1][0].cursor)
    assert after[0][0].phase is Phase.RESTART
    assert ids(after)[:2] == ids(before)
    assert counts(after) == (3, 3, 0, 0)


def test_equal_rows_are_two_events_without_a_key_and_one_with_a_key(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2026-01-01,a\n" * 2)
    assert counts(read(open_files(tmp_path), "orders:a.csv", None)) == (2, 2, 0, 0)
    assert counts(read(open_files(tmp_path, keyed=True), "orders:a.csv", None)) == (2, 1, 0, 1)


def test_new_file_waits_for_its_settle_time_or_its_done_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2026-01-01,a\n")
    connector = open_files(tmp_path, settle_seconds=60)
    assert list(connector.list_streams({})) == []
    (tmp_path / "a.csv.done").touch()
    assert list(connector.list_streams({})) == ["orders:a.csv"]


def test_old_modification_time_does_not_settle_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2026-01-01,a\n")
    os.utime(tmp_path / "a.csv", (0, 0))
    assert list(open_files(tmp_path, settle_seconds=60).list_streams({})) == []


def test_hidden_files_and_undecodable_names_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".a.csv").write_bytes(b"1,2026-01-01,a\n")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_bytes(b"1,2026-01-01,a\n")
    assert list(open_files(tmp_path).list_streams({})) == []
    assert "rename it" in caplog.text


def test_missing_file_and_missing_root_are_retryable(tmp_path: Path) -> None:
    connector = open_files(tmp_path / "gone")
    with pytest.raises(RetryableError):
        list(connector.list_streams({}))
    with pytest.raises(RetryableError):
        list(connector.read("orders:a.csv", None))
    with pytest.raises(ConfigError, match="--root"):
        connector.check()


def test_five_megabyte_field_is_rejected_whole_and_batches_stay_small(tmp_path: Path) -> None:
    big = b"1,2026-01-01," + b"x" * (5 * 1024 * 1024) + b"\n"
    (tmp_path / "a.csv").write_bytes(big * 3 + b"2,2026-01-01,b\n")
    found = read(open_files(tmp_path), "orders:a.csv", None)
    assert counts(found) == (4, 1, 3, 0)
    assert max(len(batch.records) for batch, _ in found) == 1
    letter = found[0][1].dead_letters[0]
    assert (letter.payload, letter.truncated, letter.origin) == (big, False, "orders:a.csv:1")
    assert letter.reason == "missing_identifier"
    assert "(too_long)" in letter.detail


@pytest.mark.parametrize("kind", [Record, Row])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_at_most_two_batches_are_in_memory(tmp_path: Path, form: str, kind: type) -> None:
    rows = [{"key": str(number), "at": "2026-01-01", "party": "a"} for number in range(8 * files.MAX_BATCH_RECORDS)]
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        path.write_text("key,at,party\n" + "".join(f"{','.join(row.values())}\n" for row in rows))
    given = {name: value for name, value in FEEDS["orders"].items() if name != "header"}
    feed = {**given, "files": path.name, "format": form, "columns": ["key", "at", "party"], "key": "key", "version": "at"}
    connector = files.Connector(FilesSettings.model_validate({"name": "c", "root": tmp_path, "feeds": {"orders": feed}}))
    assert 0 < max_live_objects(connector.read(f"orders:{path.name}", None), kind, 8) <= 2 * files.MAX_BATCH_RECORDS
