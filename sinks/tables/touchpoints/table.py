"""Touchpoints of known customers. The sort key is the event id alone: a source that corrects a date replaces its row.

A family's fields that have no column of their own stand among the attributes, as text.
"""

from operator import itemgetter
from typing import Any

from schemas.codec import Fields, decode

TOPIC = "touchline.resolved"
SCHEMAS = {"resolved"}
ALWAYS = ("event_id", "source", "system", "connector", "type", "channel", "occurred_at", "received_at")
OPTIONAL = (
    "text", "metric", "answer", "scale_low", "scale_high", "survey_id", "question_id", "rating", "amount", "currency",
    "product", "quantity", "order_id", "ticket_id", "delay_days", "wait_seconds",
)  # fmt: skip
COLUMNS = ("customer_id", "stage", *ALWAYS, *OPTIONAL, "attributes")
KNOWN = {*ALWAYS, *OPTIONAL, "identifiers", "attributes"}
always = itemgetter(*ALWAYS)


def row(fields: Fields) -> tuple[Any, ...]:
    """One touchpoint as the values of COLUMNS. Raises RecordError where the source's own record cannot be read."""
    touchpoint = decode(fields["touchpoint"])[1]
    rest = {name: str(touchpoint[name]) for name in touchpoint.keys() - KNOWN if touchpoint[name] is not None}
    attributes = touchpoint["attributes"] | rest if rest else touchpoint["attributes"]
    optional = map(touchpoint.get, OPTIONAL)
    return (fields["customer_id"], fields["stage"], *always(touchpoint), *optional, attributes)
