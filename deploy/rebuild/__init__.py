"""Rebuild of customers: read their history from ClickHouse, publish it as `history` records, resume after an interruption."""
