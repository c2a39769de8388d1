"""Touchpoints of known customers. The sort key is the event id alone: a source that corrects a date replaces its row."""

from operator import itemgetter

TOPIC = "touchline.resolved"
SCHEMAS = {"resolved"}
COLUMNS = (
    "event_id", "customer_id", "source", "system", "connector", "type", "channel", "stage", "occurred_at", "received_at", "text",
    "metric", "answer", "scale_low", "scale_high", "survey_id", "question_id", "rating", "amount", "currency",
    "product", "quantity", "order_id", "ticket_id", "delay_days", "wait_seconds", "attributes",
)  # fmt: skip
row = itemgetter(*COLUMNS)
