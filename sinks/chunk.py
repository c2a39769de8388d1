"""The pure middle of a sink: Kafka records in, rows and refusals out."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from schemas.codec import decode
from schemas.dead_letter import DeadLetter, refused
from schemas.errors import RecordError
from sinks.contract import Row, Table


class Record(Protocol):
    """What a sink needs of a Kafka record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


class Chunk(NamedTuple):
    """Records of one poll: `rows[i]` came from `sources[i]`; `skipped` counts records of other tables."""

    rows: list[Row]
    sources: list[Record]
    letters: list[DeadLetter]
    skipped: int


def transform(table: Table, records: Iterable[Record]) -> Chunk:
    """Decode each record and make its row; what cannot be decoded becomes a dead letter."""
    rows: list[Row] = []
    sources: list[Record] = []
    letters: list[DeadLetter] = []
    skipped = 0
    for record in records:
        try:
            name, fields = decode(record.value)
            if name not in table.schemas:
                skipped += 1
                continue
            rows.append((*table.row(fields), record.partition, record.offset))
            sources.append(record)
        except RecordError as error:
            letters.append(refusal(table, record, error))
    return Chunk(rows, sources, letters, skipped)


def refusal(table: Table, record: Record, error: RecordError) -> DeadLetter:
    """The dead letter of a record that this table cannot take."""
    return refused(
        error,
        record.value or b"",
        stage=table.stage,
        origin=f"{record.topic}/{record.partition}/{record.offset}",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )


def token(table: Table, rows: Sequence[Row]) -> str:
    """The deduplication token of a block: which records are in it, the code that made the rows, and the first and last row.

    The rows are there because offsets begin again where a topic was made anew.
    """
    ranges: dict[int, tuple[int, int]] = {}
    for *_, partition, offset in rows:
        first, _ = ranges.get(partition, (offset, offset))
        ranges[partition] = (first, offset)
    spans = ",".join(f"{partition}:{first}-{last}" for partition, (first, last) in sorted(ranges.items()))
    ends = blake2b(repr((rows[0], rows[-1])).encode(), digest_size=8).hexdigest() if rows else ""
    return f"{table.name}|{table.topic}|{spans}|{len(rows)}|{table.transform}|{ends}"
