"""Dead letters of every stage; the same record refused again by the same stage is the same row, until it is sent again."""

from operator import itemgetter

from schemas.wire.codec import Fields

TOPIC = "touchline.dead-letters"
SCHEMAS = {"dead_letter"}
COLUMNS = (
    "letter_id", "at", "stage", "source", "connector", "reason", "detail", "origin", "topic", "partition", "offset", "schema_id",
    "payload", "size", "truncated", "software", "key", "replays",
)  # fmt: skip
told = itemgetter(*COLUMNS)


def row(fields: Fields) -> tuple[object, ...]:
    values: tuple[object, ...] = told({**fields, "replays": fields["replays"] or 0})
    return values
