"""Dead letters of all stages. A record that the same stage refuses again is the same row, until it is replayed."""

from operator import itemgetter

from schemas.wire.codec import Fields

TOPIC = "touchline.dead-letters"
SCHEMAS = {"dead_letter"}
COLUMNS = (
    "letter_id", "at", "stage", "source", "connector", "reason", "detail", "origin", "topic", "partition", "offset", "schema_id",
    "payload", "size", "truncated", "software", "key", "replays",
)  # fmt: skip
get_values = itemgetter(*COLUMNS)


def row(fields: Fields) -> tuple[object, ...]:
    values: tuple[object, ...] = get_values({**fields, "replays": fields["replays"] or 0})
    return values
