"""Churn readings: upserts by reading id; the highest version counts."""

from sinks.readings import COLUMNS, row

STORED = "churn_by_customer"
TOPIC = "touchline.churn"
SCHEMAS = {"reading"}
__all__ = ["COLUMNS", "SCHEMAS", "STORED", "TOPIC", "row"]
