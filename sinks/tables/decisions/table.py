"""Decisions of people on the identity map: splits, joins, undos, erasures and confirmed reviews."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"decision"}
FIELDS = ("decision_id", "action", "left", "right", "undoes", "reason", "who", "confidence", "at")
COLUMNS = ("decision_id", "action", "left_ids", "right_ids", "undoes", "reason", "who", "confidence", "at")
row = itemgetter(*FIELDS)
