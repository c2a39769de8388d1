"""How many parts ten minutes of steady writing leave: a block each half second, as the sink makes them at 5,000 rows a second."""

import time
from collections.abc import Callable

from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse.fill import TOUCHPOINTS

ROWS, EVERY = 2_500, 0.5
ACTIVE = """
    SELECT max(parts), argMax(table, parts) FROM
    (
        SELECT table, count() AS parts FROM system.parts WHERE active AND database = 'touchline_store' GROUP BY table
    )
"""


def write(client: ClickHouse, first: int, customers: int, minutes: float, step: Callable[[], None]) -> tuple[int, str, int]:
    """Most active parts that any table had, which one, and how many blocks came later than they should have."""
    began, most, late = time.monotonic(), (0, ""), 0
    for block in range(int(minutes * 60 / EVERY)):
        due = began + block * EVERY
        late += time.monotonic() > due + EVERY
        time.sleep(max(0.0, due - time.monotonic()))
        client.query(TOUCHPOINTS, {"first": first + block * ROWS, "count": ROWS, "customers": customers, "again": 0})
        ((parts, table),) = client.query(ACTIVE).rows
        most = max(most, (parts, table))
        step()
    return *most, late
