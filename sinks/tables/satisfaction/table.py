"""Satisfaction readings: upserts by reading id, the highest version is true."""

from sinks.readings import COLUMNS, row

TOPIC = "touchline.satisfaction"
SCHEMAS = {"reading"}
__all__ = ["COLUMNS", "SCHEMAS", "TOPIC", "row"]
