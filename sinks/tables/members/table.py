"""Identifiers and the customer that owns each one now. The last record of an identifier counts."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"member"}
COLUMNS = ("identifier_id", "kind", "value", "customer_id", "is_shared", "is_erased", "rule", "event_id", "at")
row = itemgetter(*COLUMNS)
