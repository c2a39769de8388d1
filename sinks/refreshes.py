"""Metrics that a sink reads from ClickHouse: the age of refreshed tables and the number of incomplete customers."""

import logging
import threading
import time
from contextlib import closing
from functools import partial

from schemas.errors import TouchlineError
from schemas.service.telemetry import REFRESH_AGE, STORED_INCOMPLETE
from sinks.clickhouse import ClickHouse

UPDATE_SECONDS = 60.0
AGES = "SELECT table, age_seconds FROM touchline.refreshes"
INCOMPLETE = "SELECT count() FROM touchline.revisions WHERE NOT is_complete"
log = logging.getLogger(__name__)


def watch_refreshes(stop: threading.Event) -> None:
    """Update the metrics once a minute until `stop`; call it in a thread.

    While a query fails or hangs, the last age grows, and the last number of incomplete customers stays.
    """
    updates = {"the age of the rebuilt tables": update_ages, "the number of incomplete customers": update_incomplete}
    failed: set[str] = set()
    with closing(ClickHouse()) as client:
        while not stop.is_set():
            for name, update in updates.items():
                try:
                    update(client)
                    failed.discard(name)
                except TouchlineError as error:
                    if name not in failed:
                        log.warning("%s is unknown; the next query is in a minute: %s", name, error)
                    failed.add(name)
            stop.wait(UPDATE_SECONDS)


def update_ages(client: ClickHouse) -> None:
    """Set the gauge of each table to an age that grows from now on. Raises as `ClickHouse.query` does."""
    for table, age in client.query(AGES).rows:
        REFRESH_AGE.labels(table).set_function(partial(_measure_age, time.monotonic() - age))


def update_incomplete(client: ClickHouse) -> None:
    """Set the gauge to the number of incomplete customers. Raises as `ClickHouse.query` does."""
    ((count,),) = client.query(INCOMPLETE).rows
    STORED_INCOMPLETE.set(count)


def _measure_age(built_at: float) -> float:
    return time.monotonic() - built_at
