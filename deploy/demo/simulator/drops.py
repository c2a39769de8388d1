"""Writer of vendor-shaped files, one per feed and month. The same records give the same bytes."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.demo.simulator.vendors import FEEDS
from deploy.demo.simulator.vendors.record import Feed, Record

MOVEMENTS = pa.schema(
    [
        ("MovementId", pa.int64()),
        ("EventType", pa.string()),
        ("EventTime", pa.timestamp("ms", "UTC")),
        ("OrderNumber", pa.string()),
        ("OrderItem", pa.int32()),
        ("CustomerNumber", pa.string()),
        ("Material", pa.string()),
        ("Quantity", pa.int32()),
        ("Warehouse", pa.string()),
        ("PromisedDate", pa.date32()),
        ("ActualDate", pa.date32()),
        ("DelayDays", pa.float64()),
    ]
)


def write(records: Iterable[Record], folder: Path) -> None:
    """Write all files below `folder`, which is created. Columns that a record does not have stay empty."""
    files: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        files[record.feed, record.at.strftime("%Y-%m")].append(record)
    for (name, month), rows in files.items():
        feed = FEEDS[name]
        path = folder / f"{feed.path}-{month}.{feed.format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[feed.format](path, feed, rows)


def _csv(path: Path, feed: Feed, rows: list[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, feed.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.values for row in rows)


def _jsonl(path: Path, feed: Feed, rows: list[Record]) -> None:
    lines = (json.dumps({column: row.values[column] for column in feed.columns}, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _parquet(path: Path, _: Feed, rows: list[Record]) -> None:
    pq.write_table(pa.Table.from_pylist([dict(row.values) for row in rows], schema=MOVEMENTS), path)


WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
