"""Identifiers and the customer they belong to."""
