"""Write one chunk to ClickHouse: repeat a block while the server is down, and split a block with an unfit value."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import RecordError
from schemas.records.dead_letter import DeadLetter
from schemas.service.telemetry import SINK_INSERT, SINK_RETRIES
from sinks.chunk import Chunk, Record, make_dead_letter
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.contract import Row, Table
from sinks.intent import make_part_token

MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 10.0
log = logging.getLogger(__name__)


class StoppedError(Exception):
    """ClickHouse has not stored the chunk before the process must end: do not commit it."""


def write(table: Table, client: ClickHouse, chunk: Chunk, token: str, give_up: threading.Event) -> list[DeadLetter]:
    """Insert all rows of a chunk under its token; return the dead letters of rows that ClickHouse refuses.

    A block with an unknown outcome is never split. Only a refused value splits it, into halves with tokens of their own.
    Raises ConfigError, FatalError, and StoppedError once `give_up` is set and an insert has failed.
    """
    return _write(_Block(table, client, give_up, token), chunk.rows, chunk.sources, token)


class _Block(NamedTuple):
    """Arguments that all parts of a chunk share."""

    table: Table
    client: ClickHouse
    give_up: threading.Event
    token: str


def _write(block: _Block, rows: Sequence[Row], sources: Sequence[Record], token: str) -> list[DeadLetter]:
    if not rows:
        return []
    try:
        _insert(block, rows, token)
    except RecordError as error:
        if len(rows) == 1:
            return [make_dead_letter(block.table, sources[0], error)]
        half = len(rows) // 2
        first = _write(block, rows[:half], sources[:half], make_part_token(block.token, rows[:half]))
        return first + _write(block, rows[half:], sources[half:], make_part_token(block.token, rows[half:]))
    return []


def _insert(block: _Block, rows: Sequence[Row], token: str) -> None:
    """Insert the same values under the same token until the outcome is known."""
    values = list(zip(*rows, strict=True))
    pause = MIN_PAUSE_SECONDS
    while True:
        began = time.perf_counter()
        try:
            block.client.insert(block.table.stored, block.table.columns, values, token)
        except UnavailableError as error:
            SINK_RETRIES.labels(error.reason).inc()
            log.warning("%s: %s; the sink repeats the same %d rows", block.table.name, error, len(rows))
            if block.give_up.wait(pause):
                raise StoppedError from error
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        else:
            SINK_INSERT.labels(block.table.name).observe(time.perf_counter() - began)
            return
