"""The pure part of a sink: Kafka records in, rows and dead letters out."""

from collections.abc import Iterable
from typing import NamedTuple

from schemas.errors import RecordError
from schemas.records.dead_letter import DeadLetter, KafkaRecord, make_record_dead_letter
from schemas.wire.codec import decode, extract_source_and_connector
from sinks.contract import Row, Table

Record = KafkaRecord


class Chunk(NamedTuple):
    """Records of one poll: `rows[i]` comes from `sources[i]`; `skipped` counts records of other tables."""

    rows: list[Row]
    sources: list[Record]
    dead_letters: list[DeadLetter]
    skipped: int


def transform(table: Table, records: Iterable[Record]) -> Chunk:
    """Return the row of each record; a record that cannot be decoded becomes a dead letter."""
    rows: list[Row] = []
    sources: list[Record] = []
    dead_letters: list[DeadLetter] = []
    skipped = 0
    for record in records:
        try:
            row = make_row(table, record)
            if row is None:
                skipped += 1
                continue
            rows.append(row)
            sources.append(record)
        except RecordError as error:
            dead_letters.append(make_dead_letter(table, record, error))
    return Chunk(rows, sources, dead_letters, skipped)


def make_row(table: Table, record: Record) -> Row | None:
    """Return the row of one record, or None where it belongs to another table. Raises RecordError.

    `sinks/versions.py` counts all that this function reaches as part of each table's version.
    """
    name, fields = decode(record.value)
    if name not in table.schemas:
        return None
    return (*table.row(fields), record.partition, record.offset)


def make_dead_letter(table: Table, record: Record, error: RecordError) -> DeadLetter:
    """Return the dead letter of a record that this table refuses, with source and connector if the record names them."""
    source, connector = extract_source_and_connector(record.value)
    return make_record_dead_letter(error, record, stage=table.stage, source=source, connector=connector)
