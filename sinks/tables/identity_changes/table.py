"""All merges in their history; `merges` holds only the current customer of each merged one."""

from sinks.tables.merges.table import COLUMNS, SCHEMAS, TOPIC, row

__all__ = ["COLUMNS", "SCHEMAS", "TOPIC", "row"]
