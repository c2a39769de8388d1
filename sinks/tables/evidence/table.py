"""Sets of identifiers that touchpoints named together, each with the touchpoint that did so first."""

from operator import itemgetter

TOPIC = "touchline.identity"
SCHEMAS = {"evidence"}
COLUMNS = ("evidence_id", "identifier_ids", "kinds", "rule", "confidence", "verified", "event_id", "at")
row = itemgetter(*COLUMNS)
