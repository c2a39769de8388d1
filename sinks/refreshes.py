"""How old the tables are that ClickHouse makes anew by itself, for Prometheus: nobody else would say that one went stale."""

import logging
import threading
import time
from contextlib import closing
from functools import partial

from schemas.errors import TouchlineError
from schemas.service.telemetry import REFRESH_AGE
from sinks.clickhouse import ClickHouse

LOOK_EVERY = 60.0
AGES = "SELECT table, age_seconds FROM touchline.refreshes"
log = logging.getLogger(__name__)


def watch(stop: threading.Event) -> None:
    """In a thread of its own, look once a minute until `stop`. Where it fails or hangs, what was seen last grows older."""
    failed = False
    with closing(ClickHouse()) as client:
        while not stop.is_set():
            try:
                look(client)
                failed = False
            except TouchlineError as error:
                if not failed:
                    log.warning("how old the tables made anew are is not known, the next look is in a minute: %s", error)
                failed = True
            stop.wait(LOOK_EVERY)


def look(client: ClickHouse) -> None:
    """Set the gauge of each table to what grows with the time from now on. Raises as `ClickHouse.query` does."""
    for table, age in client.query(AGES).rows:
        REFRESH_AGE.labels(table).set_function(partial(_since, time.monotonic() - age))


def _since(made: float) -> float:
    return time.monotonic() - made
