"""Write one chunk to ClickHouse, whatever it takes: the same bytes again while it is down, fewer rows where one does not fit."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import RecordError
from schemas.records.dead_letter import DeadLetter
from schemas.service.telemetry import SINK_INSERT, SINK_RETRIES
from sinks.chunk import Chunk, Record, refusal
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.contract import Row, Table
from sinks.intent import part

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
log = logging.getLogger(__name__)


class StoppedError(Exception):
    """ClickHouse did not take the chunk, and there is no more time to ask: leave without committing."""


def write(table: Table, client: ClickHouse, chunk: Chunk, token: str, give_up: threading.Event) -> list[DeadLetter]:
    """Insert all rows of a chunk under its token; returns the dead letters of rows that ClickHouse cannot hold.

    A block whose outcome is unknown is never split: only a refusal for its values splits it, in halves with tokens of their own.
    Raises ConfigError, FatalError, and StoppedError once `give_up` is set and an insert has failed.
    """
    return _write(_Block(table, client, give_up, token), chunk.rows, chunk.sources, token)


class _Block(NamedTuple):
    """What all parts of a chunk have in common."""

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
            return [refusal(block.table, sources[0], error)]
        half = len(rows) // 2
        first = _write(block, rows[:half], sources[:half], part(block.token, rows[:half]))
        return first + _write(block, rows[half:], sources[half:], part(block.token, rows[half:]))
    return []


def _insert(block: _Block, rows: Sequence[Row], token: str) -> None:
    """The same values under the same token, until the outcome is known."""
    values = list(zip(*rows, strict=True))
    pause = FIRST_PAUSE
    while True:
        began = time.perf_counter()
        try:
            block.client.insert(block.table.stored, block.table.columns, values, token)
        except UnavailableError as error:
            SINK_RETRIES.labels(error.reason).inc()
            log.warning("%s: %s; trying the same %d rows again", block.table.name, error, len(rows))
            if block.give_up.wait(pause):
                raise StoppedError from error
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            SINK_INSERT.labels(block.table.name).observe(time.perf_counter() - began)
            return
