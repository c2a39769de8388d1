"""Edges of the identity map: the customer of each identifier. The last edge of an identifier counts."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"edge"}
COLUMNS = ("kind", "value", "customer_id", "rule", "event_id", "at")
row = itemgetter(*COLUMNS)
