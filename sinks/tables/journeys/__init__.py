"""Journeys in their current state."""
