"""Readings of all signals without a topic of their own: upserts by reading id; the highest version counts."""

from sinks.readings import COLUMNS, row

STORED = "signals_by_customer"
TOPIC = "touchline.signals"
SCHEMAS = {"reading"}
__all__ = ["COLUMNS", "SCHEMAS", "STORED", "TOPIC", "row"]
