"""Touchpoints of known customers."""
