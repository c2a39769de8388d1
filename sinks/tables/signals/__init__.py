"""Readings of signals without a topic of their own."""
