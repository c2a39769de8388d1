"""Churn readings: upserts by reading id, the highest version is true."""

from sinks.readings import COLUMNS, row

TOPIC = "touchline.churn"
SCHEMAS = {"reading"}
__all__ = ["COLUMNS", "SCHEMAS", "TOPIC", "row"]
