"""Cursor and running totals of each connector stream, for the view `freshness` and the reconciliation."""

from operator import itemgetter

TOPIC = "touchline.connector-state"
SCHEMAS = {"connector_state"}
COLUMNS = (
    "connector", "stream", "cursor", "read", "published", "dead_lettered", "repeated", "last_event_at", "last_success_at",
    "backfill_difference",
)  # fmt: skip
row = itemgetter(*COLUMNS)
