"""Write one chunk to ClickHouse, whatever it takes: the same bytes again while it is down, fewer rows where one does not fit."""

import logging
import threading
import time
from collections.abc import Sequence

from schemas.dead_letter import DeadLetter
from schemas.errors import RecordError
from schemas.telemetry import SINK_INSERT, SINK_RETRIES
from sinks.chunk import Chunk, Record, refusal, token
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.contract import Row, Table

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The process was asked to end while ClickHouse did not take the chunk: leave without committing."""


def write(table: Table, client: ClickHouse, chunk: Chunk, stop: threading.Event) -> list[DeadLetter]:
    """Insert all rows of a chunk; returns the dead letters of rows that ClickHouse cannot hold.

    A block whose outcome is unknown is never split: only a refusal for its values splits it, in halves with tokens of their own.
    Raises ConfigError, FatalError, StoppedError.
    """
    return _write(table, client, chunk.rows, chunk.sources, stop)


def _write(
    table: Table, client: ClickHouse, rows: Sequence[Row], sources: Sequence[Record], stop: threading.Event
) -> list[DeadLetter]:
    if not rows:
        return []
    try:
        _insert(table, client, rows, stop)
    except RecordError as error:
        if len(rows) == 1:
            return [refusal(table, sources[0], error)]
        half = len(rows) // 2
        first = _write(table, client, rows[:half], sources[:half], stop)
        return first + _write(table, client, rows[half:], sources[half:], stop)
    return []


def _insert(table: Table, client: ClickHouse, rows: Sequence[Row], stop: threading.Event) -> None:
    """One block under one token, until its outcome is known."""
    values, same = list(zip(*rows, strict=True)), token(table, rows)
    pause = FIRST_PAUSE
    while True:
        began = time.perf_counter()
        try:
            client.insert(table.stored, table.columns, values, same)
        except UnavailableError as error:
            SINK_RETRIES.labels(error.reason).inc()
            log.warning("%s: %s; trying the same %d rows again", table.name, error, len(rows))
            if stop.wait(pause):
                raise StoppedError from error
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            SINK_INSERT.labels(table.name).observe(time.perf_counter() - began)
            return
