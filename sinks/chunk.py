"""The pure middle of a sink: Kafka records in, rows and refusals out."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from schemas.codec import decode
from schemas.dead_letter import DeadLetter, KafkaRecord, refused_record
from schemas.errors import RecordError
from sinks.contract import Row, Table

Record = KafkaRecord


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
    """The dead letter of a record that this table cannot take; it names source and connector where the bytes do."""
    source, connector = _named(record)
    return refused_record(error, record, stage=table.stage, source=source, connector=connector)


def _named(record: Record) -> tuple[str, str]:
    """Source and connector of a touchpoint; empty for anything else."""
    try:
        _, fields = decode(record.value)
    except RecordError:
        return "", ""
    return (fields["source"], fields["connector"]) if "source" in fields else ("", "")


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
