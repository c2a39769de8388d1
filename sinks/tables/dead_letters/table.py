"""Dead letters of every stage; the same record refused again by the same stage is the same row."""

from operator import itemgetter

TOPIC = "touchline.dead-letters"
SCHEMAS = {"dead_letter"}
COLUMNS = (
    "letter_id", "at", "stage", "source", "connector", "reason", "detail", "origin", "topic", "partition", "offset", "schema_id",
    "payload", "size", "truncated", "software",
)  # fmt: skip
row = itemgetter(*COLUMNS)
