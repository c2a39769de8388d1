"""Columns of all tables of readings, with the drivers as parallel arrays."""

from operator import itemgetter
from typing import Any

from schemas.wire.codec import Fields

PLAIN = (
    "reading_id", "customer_id", "signal", "event_id", "at", "version", "deleted", "definition", "value", "low", "high",
    "evidence", "numbers",
)  # fmt: skip
COLUMNS = (*PLAIN, "driver_event_ids", "driver_contributions", "driver_texts")
plain = itemgetter(*PLAIN)


def row(fields: Fields) -> tuple[Any, ...]:
    """Return one reading as the values of COLUMNS."""
    drivers = fields["drivers"]
    ids = [driver["event_id"] for driver in drivers]
    return (*plain(fields), ids, [driver["contribution"] for driver in drivers], [driver["text"] for driver in drivers])
