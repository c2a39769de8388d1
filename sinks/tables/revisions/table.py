"""Revisions of customers: readings and journeys of an older revision were replaced."""

from operator import itemgetter

TOPIC = "touchline.customers"
SCHEMAS = {"customer"}
COLUMNS = ("customer_id", "revision", "is_complete", "touchpoints", "at")
row = itemgetter(*COLUMNS)
