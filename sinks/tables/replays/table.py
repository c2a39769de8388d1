"""Each time that `touchline dead-letters replay` sent a record again; a repetition of the same one is the same row."""

from operator import itemgetter

TOPIC = "touchline.dead-letters"
SCHEMAS = {"replay"}
COLUMNS = ("letter_id", "replays", "at", "software")
row = itemgetter(*COLUMNS)
