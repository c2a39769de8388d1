"""Touchpoints of known customers. The sort key is the event id alone, so a source that corrects a date replaces its row.

Fields of an event family without a column are stored as attributes, as text.
"""

from typing import Any

from schemas.errors import RecordError
from schemas.wire.codec import Fields, make_field_decoder
from schemas.wire.registry import load_schema, newest_ids

STORED = "touchpoints_by_event"
TOPIC = "touchline.resolved"
SCHEMAS = {"resolved"}
COLUMNS = (
    "event_id", "customer_id", "source", "system", "connector", "type", "channel", "stage", "occurred_at", "received_at",
    "text", "metric", "answer", "scale_low", "scale_high", "survey_id", "question_id", "rating", "amount", "currency",
    "product", "quantity", "order_id", "ticket_id", "delay_days", "wait_seconds", "attributes",
    "identifier_ids", "identifier_kinds", "identifier_values", "traits", "verified", "record",
)  # fmt: skip
PLACE = {name: COLUMNS.index(name) for name in COLUMNS}
CUSTOMER, STAGE, ATTRIBUTES, IDS = PLACE["customer_id"], PLACE["stage"], PLACE["attributes"], PLACE["identifier_ids"]
KINDS, VALUES, TRAITS, VERIFIED, RECORD = range(IDS + 1, len(COLUMNS))
# The source's identifiers are read into the place of their kinds.
FIELDS = tuple("identifiers" if name == "identifier_kinds" else name for name in COLUMNS)
KNOWN = {*COLUMNS, "identifiers"}
ENVELOPE = {"event_id", "occurred_at", "identifiers", "attributes"}
SCHEMA_FIELDS = {name: [field["name"] for field in load_schema(schema_id)["fields"]] for name, schema_id in newest_ids().items()}
# Fields keep the order of the schema: the order of a set differs from process to process, and with it the bytes of a row.
OTHERS = {
    name: [field for field in fields if field not in KNOWN] for name, fields in SCHEMA_FIELDS.items() if set(fields) >= ENVELOPE
}
NESTED = frozenset(OTHERS)
read = make_field_decoder({name: (*FIELDS, *others) for name, others in OTHERS.items()})


def row(fields: Fields) -> tuple[Any, ...]:
    """Return one touchpoint as the values of COLUMNS. Raises RecordError if the source's record is broken or no touchpoint.

    Records of older schema versions have no ids of identifiers, no traits, and count as verified.
    """
    record = fields["touchpoint"]
    family, values = read(record)
    if family not in OTHERS:
        raise RecordError("unexpected_schema", f"field touchpoint holds a {family} record, which is no touchpoint")
    row = list(values)
    row[CUSTOMER], row[STAGE], row[RECORD] = fields["customer_id"], fields["stage"], record
    identifiers = row[KINDS]
    row[IDS] = fields["identifiers"] or []
    row[KINDS] = [each["kind"] for each in identifiers]
    row[VALUES] = [each["value"] for each in identifiers]
    row[TRAITS] = row[TRAITS] or {}
    row[VERIFIED] = row[VERIFIED] is not False
    if others := OTHERS[family]:
        for name, value in zip(others, values[len(COLUMNS) :], strict=True):
            if value is not None:
                row[ATTRIBUTES][name] = str(value)
        del row[len(COLUMNS) :]
    return tuple(row)
