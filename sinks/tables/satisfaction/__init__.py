"""Satisfaction readings."""
