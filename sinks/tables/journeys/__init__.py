"""Journeys as they stand."""
