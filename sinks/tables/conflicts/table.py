"""Pairs of identifiers that a touchpoint named together and that the identity map did not link."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"conflict"}
COLUMNS = (
    "conflict_id", "reason", "identifier_id", "kind", "value", "other_id", "other_kind", "other_value", "customer_id",
    "other_customer", "event_id", "at",
)  # fmt: skip
row = itemgetter(*COLUMNS)
