"""Current customer of each merged one; all views follow it."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"merge"}
COLUMNS = ("from_customer", "to_customer", "rule", "event_id", "at")
row = itemgetter(*COLUMNS)
