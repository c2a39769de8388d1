"""Journeys: upserts by journey id; the highest version counts."""

from operator import itemgetter

STORED = "journeys_by_customer"
TOPIC = "touchline.journeys"
SCHEMAS = {"journey"}
COLUMNS = (
    "journey_id", "customer_id", "version", "deleted", "definition", "status", "outcome", "stage", "started_at", "last_at",
    "touchpoints", "channels", "stages", "friction", "moments_of_truth",
)  # fmt: skip
row = itemgetter(*COLUMNS)
