"""Counts active parts during ten minutes of steady writing: a block each half second, as a sink writes 5,000 rows a second."""

import time
from collections.abc import Callable
from typing import NamedTuple

from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse.fill import CHURN, JOURNEYS, PIECE, SATISFACTION, TOUCHPOINTS

ROWS, EVERY = 2_500, 0.5
# ClickHouse slows inserts down at 1,000 active parts.
MAX_PARTS, MAX_LATE_SHARE = 100, 0.02
ACTIVE = """
    SELECT max(parts), argMax(table, parts) FROM
    (
        SELECT table, count() AS parts FROM system.parts WHERE active AND database = 'touchline_store' GROUP BY table
    )
"""


class Written(NamedTuple):
    """Touchpoints written, the highest number of active parts with its table, and the share of late blocks."""

    touchpoints: int
    max_parts: int
    table: str
    late: float


def write(client: ClickHouse, first: int, customers: int, minutes: float, step: Callable[[], None]) -> Written:
    """Write touchpoints from number `first` on. A block is late if it begins half a second after its time."""
    began, most, late, blocks = time.monotonic(), (0, ""), 0, int(minutes * 60 / EVERY)
    for block in range(blocks):
        due = began + block * EVERY
        late += time.monotonic() > due + EVERY
        time.sleep(max(0.0, due - time.monotonic()))
        client.query(TOUCHPOINTS, {"first": first + block * ROWS, "count": ROWS, "customers": customers, "again": 0})
        ((parts, table),) = client.query(ACTIVE).rows
        most = max(most, (parts, table))
        step()
    return Written(blocks * ROWS, *most, late / blocks)


def read(client: ClickHouse, first: int, count: int, customers: int) -> None:
    """Insert the readings and journeys of these touchpoints, so that answers can be computed from row numbers."""
    for start in range(first, first + count, PIECE):
        piece = min(PIECE, first + count - start)
        for sql in (SATISFACTION, CHURN, JOURNEYS):
            client.query(sql, {"first": start, "count": piece, "customers": customers, "again": 0})
