"""Routes: the current owner of touchpoints that were resolved to a customer id. The last record of a customer id counts."""

from typing import Any

from schemas.wire.codec import Fields

TOPIC = "touchline.identity"
SCHEMAS = {"route"}
COLUMNS = ("customer_id", "current", "shared", "exception_ids", "exception_customers", "rule", "event_id", "at")


def row(fields: Fields) -> tuple[Any, ...]:
    """Return one route as the values of COLUMNS, with the exceptions as parallel arrays."""
    exceptions = fields["exceptions"]
    return (
        fields["customer_id"],
        fields["current"],
        fields["shared"],
        [each["identifier_id"] for each in exceptions],
        [each["customer_id"] for each in exceptions],
        fields["rule"],
        fields["event_id"],
        fields["at"],
    )
