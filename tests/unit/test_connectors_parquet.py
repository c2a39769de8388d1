"""The Parquet reader: damaged files, and column types that JSON does not have."""

from datetime import datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.files import parquet_rows
from connectors.files.row import Row
from connectors.files.settings import Feed
from schemas.errors import RecordError

FEED = Feed.model_validate(
    {
        "files": "*",
        "format": "parquet",
        "source": "erp",
        "system": "s",
        "columns": ["n"],
        "map": {"type": "'order.placed'", "channel": "'web'", "occurred_at": "n", "identifiers": {"erp_party": "n"}},
    }
)


def rows(folder: Path, content: bytes) -> list[Row]:
    path = folder / "file.parquet"
    path.write_bytes(content)
    with path.open("rb") as file:
        return list(parquet_rows.read_rows(file, FEED))


def write_parquet(table: pa.Table, **options: Any) -> bytes:
    out = BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def test_damaged_row_group_is_rejected_once_and_reading_continues(tmp_path: Path) -> None:
    content = bytearray(write_parquet(pa.table({"n": [f"{i:05}" for i in range(300)]}), row_group_size=100, use_dictionary=False))
    group = pq.ParquetFile(BytesIO(bytes(content))).metadata.row_group(1).column(0)
    content[group.data_page_offset : group.data_page_offset + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    found = rows(tmp_path, bytes(content))
    numbers = [row.data["n"] for row in found if isinstance(row.data, dict)]
    assert numbers == [f"{i:05}" for i in (*range(100), *range(200, 300))]
    [broken] = [row for row in found if isinstance(row.data, RecordError)]
    assert isinstance(broken.data, RecordError)
    assert (broken.data.reason, broken.raw) == ("broken_file", b"\xff" * group.total_compressed_size)
    assert len({row.number for row in found}) == len(found)


def test_truncated_file_or_other_columns_reject_the_file_with_its_bytes(tmp_path: Path) -> None:
    good = write_parquet(pa.table({"n": [1, 2, 3]}))
    for content in (good[:-10], b"", write_parquet(pa.table({"other": [1, 2, 3]}))):
        [row] = rows(tmp_path, content)
        assert isinstance(row.data, RecordError)
        assert (row.data.reason, row.raw, row.size) == ("broken_file", content, len(content))


def test_types_unknown_to_json_become_text_or_null(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "decimal": pa.array([Decimal("12.30")]),
        "time": pa.array([datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("ns")),  # noqa: DTZ001 - Parquet's naive time
        "duration": pa.array([timedelta(seconds=90)]),
        "bytes": pa.array([b"\xffa"]),
        "nan": pa.array([float("nan")]),
        "infinite": pa.array([float("inf")]),
        "null": pa.array([None], pa.string()),
        "nested": pa.array([{"a": [Decimal("1.5"), None]}]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "n": pa.array([1]),
    }
    [row] = rows(tmp_path, write_parquet(pa.table(columns)))
    assert row.data == {
        "decimal": "12.30",
        "time": "2026-01-02T03:04:05",
        "duration": "0:01:30",
        "bytes": "\\xffa",
        "nan": None,
        "infinite": "inf",
        "nested": {"a": ["1.5", None]},
        "map": [["k", 1]],
        "n": 1,
    }
