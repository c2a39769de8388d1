"""Every merge as it happened: `merges` keeps of each customer only where it is now."""

from sinks.tables.merges.table import COLUMNS, SCHEMAS, TOPIC, row

__all__ = ["COLUMNS", "SCHEMAS", "TOPIC", "row"]
