"""Identifiers and their customers."""
