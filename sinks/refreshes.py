"""Age of the tables that ClickHouse rebuilds at intervals, as a metric."""

import logging
import threading
import time
from contextlib import closing
from functools import partial

from schemas.errors import TouchlineError
from schemas.service.telemetry import REFRESH_AGE
from sinks.clickhouse import ClickHouse

UPDATE_SECONDS = 60.0
AGES = "SELECT table, age_seconds FROM touchline.refreshes"
log = logging.getLogger(__name__)


def watch_refreshes(stop: threading.Event) -> None:
    """Update the metric once a minute until `stop`; call it in a thread. While it fails or hangs, the last age grows."""
    failed = False
    with closing(ClickHouse()) as client:
        while not stop.is_set():
            try:
                update_ages(client)
                failed = False
            except TouchlineError as error:
                if not failed:
                    log.warning("the age of the rebuilt tables is unknown; the next query is in a minute: %s", error)
                failed = True
            stop.wait(UPDATE_SECONDS)


def update_ages(client: ClickHouse) -> None:
    """Set the gauge of each table to an age that grows from now on. Raises as `ClickHouse.query` does."""
    for table, age in client.query(AGES).rows:
        REFRESH_AGE.labels(table).set_function(partial(_measure_age, time.monotonic() - age))


def _measure_age(built_at: float) -> float:
    return time.monotonic() - built_at
