"""Reader of Parquet files, row group by row group. A row has no bytes of its own, so its `raw` is a JSON rendering.

Decimals become exact texts that `number()` accepts. Times become ISO 8601 texts, with their zone if they have one; int96 and
nanosecond times are truncated to microseconds. NaN becomes null.
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

from connectors.files.row import Row, reject_file
from connectors.files.settings import Feed
from schemas.errors import RecordError
from schemas.records.dead_letter import MAX_PAYLOAD_BYTES

MAX_CHUNK_ROWS = 500


def read_rows(file: BufferedReader, feed: Feed) -> Iterator[Row]:
    """Yield the rows of a Parquet file, numbered from 1."""
    try:
        parquet = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
    except (pa.ArrowException, OSError) as error:
        _raise_system_error(error)
        yield reject_file(file, "the file cannot be opened as Parquet: it is cut short, damaged or something else")
        return
    if not set(parquet.schema_arrow.names) & set(feed.columns):
        yield reject_file(file, "the file has none of the feed's columns")
        return
    number, total = 0, max(1, parquet.metadata.num_rows)
    for group in range(parquet.metadata.num_row_groups):
        try:
            for chunk in parquet.iter_batches(batch_size=MAX_CHUNK_ROWS, row_groups=[group]):
                for data in _truncate_times(chunk).to_pylist():
                    number += 1
                    row = {name: _to_json(value) for name, value in data.items() if value is not None}
                    raw = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
                    yield Row(number, raw, len(raw), row, number / total)
        except (pa.ArrowException, OSError) as error:
            _raise_system_error(error)
            number += 1
            yield _reject_group(file, parquet.metadata.row_group(group), number, group)


def _reject_group(file: BufferedReader, group: Any, number: int, index: int) -> Row:
    """Return the bytes of a damaged row group as one rejected row."""
    columns = [group.column(i) for i in range(group.num_columns)]
    start = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    size = sum(column.total_compressed_size for column in columns)
    file.seek(start)
    detail = f"row group {index + 1} cannot be read on from here: it is damaged"
    return Row(number, file.read(min(size, MAX_PAYLOAD_BYTES)), size, RecordError("broken_file", detail), 1.0)


def _raise_system_error(error: Exception) -> None:
    """Raise errors of the operating system again. Arrow uses OSError for damaged bytes, too, but without a number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _truncate_times(chunk: pa.RecordBatch) -> pa.RecordBatch:
    """Return the chunk with nanosecond times truncated to microseconds, the precision of Python's datetime."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in chunk.schema
    ]
    schema = pa.schema(fields)
    return chunk if schema == chunk.schema else chunk.cast(schema, safe=False)


def _to_json(value: Any) -> Any:
    """Return a cell as a JSON value."""
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
        return {str(name): _to_json(one) for name, one in value.items()}
    return [_to_json(one) for one in value]
