"""Replays of dead letters by `touchline dead-letters replay`; a repeated record of one replay is the same row."""

from operator import itemgetter

TOPIC = "touchline.dead-letters"
SCHEMAS = {"replay"}
COLUMNS = ("letter_id", "replays", "at", "software")
row = itemgetter(*COLUMNS)
