"""Where each connector stands, with its running totals: what `freshness` and the reconciliation read."""

from operator import itemgetter

TOPIC = "touchline.connector-state"
SCHEMAS = {"connector_state"}
COLUMNS = (
    "connector", "stream", "cursor", "read", "published", "dead_lettered", "repeated", "last_event_at", "last_success_at",
    "backfill_difference",
)  # fmt: skip
row = itemgetter(*COLUMNS)
