"""Replays of dead letters."""
