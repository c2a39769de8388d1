"""Merged customers."""
