"""Parquet, read row group by row group. Its rows have no bytes of their own: a JSON rendering stands in for them.

Decimals become texts (exact; `number()` takes them), times ISO 8601 texts with their zone where they have one (int96 and
nanoseconds are cut to microseconds), NaN becomes null.
"""

import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BufferedReader
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.files.row import Row, whole_file
from connectors.files.settings import Feed
from schemas.errors import RecordError
from schemas.records.dead_letter import MAX_PAYLOAD_BYTES

ROWS = 500


def rows(file: BufferedReader, feed: Feed) -> Iterator[Row]:
    """The rows of a Parquet file, numbered from 1."""
    try:
        parquet = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
    except (pa.ArrowException, OSError) as error:
        _reraise_from_the_system(error)
        yield whole_file(file, "the file cannot be opened as Parquet: it is cut short, damaged or something else")
        return
    if not set(parquet.schema_arrow.names) & set(feed.columns):
        yield whole_file(file, "the file has none of the feed's columns")
        return
    number, total = 0, max(1, parquet.metadata.num_rows)
    for group in range(parquet.metadata.num_row_groups):
        try:
            for chunk in parquet.iter_batches(batch_size=ROWS, row_groups=[group]):
                for data in _microseconds(chunk).to_pylist():
                    number += 1
                    row = {name: _plain(value) for name, value in data.items() if value is not None}
                    raw = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
                    yield Row(number, raw, len(raw), row, number / total)
        except (pa.ArrowException, OSError) as error:
            _reraise_from_the_system(error)
            number += 1
            yield _broken_group(file, parquet.metadata.row_group(group), number, group)


def _broken_group(file: BufferedReader, group: Any, number: int, index: int) -> Row:
    """The bytes of a row group that cannot be read to its end, as one refused row."""
    columns = [group.column(i) for i in range(group.num_columns)]
    start = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    size = sum(column.total_compressed_size for column in columns)
    file.seek(start)
    detail = f"row group {index + 1} cannot be read on from here: it is damaged"
    return Row(number, file.read(min(size, MAX_PAYLOAD_BYTES)), size, RecordError("broken_file", detail), 1.0)


def _reraise_from_the_system(error: Exception) -> None:
    """Arrow says OSError for damaged bytes, too; only the operating system's own errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _microseconds(chunk: pa.RecordBatch) -> pa.RecordBatch:
    """The chunk with nanosecond times cut to microseconds, which Python's datetime can hold."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in chunk.schema
    ]
    schema = pa.schema(fields)
    return chunk if schema == chunk.schema else chunk.cast(schema, safe=False)


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it."""
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, timedelta)):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value]
