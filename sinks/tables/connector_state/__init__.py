"""Cursors and totals of the connectors."""
