"""Satisfaction readings: upserts by reading id; the highest version counts."""

from sinks.readings import COLUMNS, row

STORED = "satisfaction_by_customer"
TOPIC = "touchline.satisfaction"
SCHEMAS = {"reading"}
__all__ = ["COLUMNS", "SCHEMAS", "STORED", "TOPIC", "row"]
