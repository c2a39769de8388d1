"""Reader of one feed: compiled expressions that turn a row into a Record and a Record into a touchpoint."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from io import BufferedReader

from connectors.contract import Record, RejectedRecord
from connectors.files import csv_rows, jsonl_rows, parquet_rows
from connectors.files.row import Row
from connectors.files.settings import Feed
from connectors.mapping.expressions import compile_expression, evaluate
from connectors.mapping.functions import to_identifier
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from schemas.errors import RecordError
from schemas.records.touchpoint import Touchpoint

FORMATS = {"csv": csv_rows.read_rows, "jsonl": jsonl_rows.read_rows, "parquet": parquet_rows.read_rows}
MAX_NAME_LENGTH = 60


class FeedReader:
    """One feed of one instance. Raises ConfigError for an invalid mapping."""

    def __init__(self, connector: str, name: str, feed: Feed) -> None:
        self.feed = feed
        self.columns = frozenset(feed.columns)
        self.mapping = TouchpointMapping(
            connector=connector,
            feed=name,
            where=f"feeds.{name}.map",
            source=feed.source,
            system=feed.system,
            columns=self.columns,
            fields=feed.map,
            settings=feed,
        )
        self._key = compile_expression(feed.key, self.columns, f"feeds.{name}.key") if feed.key else None
        self._version = compile_expression(feed.version, self.columns, f"feeds.{name}.version") if feed.version else None

    def read_rows(self, file: BufferedReader) -> Iterator[Row]:
        """Yield the rows of one open file."""
        return FORMATS[self.feed.format](file, self.feed)

    def create_record(self, row: Row, stream: str, read_at: datetime, equal_rows: Counter[bytes]) -> Record | RejectedRecord:
        """Return the row with its key and version. `equal_rows` counts equal rows of this file that have no key."""
        position = str(row.number)
        try:
            if isinstance(row.data, RecordError):
                raise row.data
            self._check_columns(row)
            digest = b"" if self._key and self._version else sha256(row.raw.rstrip(b"\r\n")).digest()
            key = self._evaluate_identity("key", row) if self._key else self._number_equal_rows(digest, equal_rows)
            version = self._evaluate_identity("version", row) if self._version else digest.hex()
        except RecordError as error:
            return RejectedRecord(row.raw, row.size, position, error)
        return Record(stream, key, version, row.data, row.raw, position, read_at)

    def map_record(self, record: Record) -> Touchpoint:
        """Map the record. Raises RecordError."""
        extra = {}
        if self.feed.unknown_columns == "keep" and not record.data.keys() <= self.columns:
            extra = {name: value for name, value in record.data.items() if name not in self.columns}
        return self.mapping.create_touchpoint(record.key, record.version, record.data, record.read_at, extra)

    def _check_columns(self, row: Row) -> None:
        assert isinstance(row.data, dict)
        if self.feed.unknown_columns == "keep" or row.data.keys() <= self.columns:
            return
        unknown = [name for name, value in row.data.items() if name not in self.columns and value not in (None, "")]
        if unknown:
            raise RecordError(
                "unknown_column",
                f"column {unknown[0][:MAX_NAME_LENGTH]!r} holds a value and is not among the feed's columns",
            )

    def _evaluate_identity(self, name: str, row: Row) -> str:
        expression = self._key if name == "key" else self._version
        assert expression is not None
        assert isinstance(row.data, dict)
        identity = to_identifier(evaluate(expression, row.data, name))
        if identity is None:
            raise RecordError("missing_field", f"field {name} is required, but its expression gives no value")
        return identity

    @staticmethod
    def _number_equal_rows(digest: bytes, equal_rows: Counter[bytes]) -> str:
        equal_rows[digest] += 1
        return f"{digest.hex()}:{equal_rows[digest]}"
