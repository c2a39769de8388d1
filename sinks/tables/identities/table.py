"""Identifier to customer: the edges of the identity map, last one of an identifier wins."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"edge"}
COLUMNS = ("kind", "value", "customer_id", "rule", "event_id", "at")
row = itemgetter(*COLUMNS)
