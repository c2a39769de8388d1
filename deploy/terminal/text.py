"""Text for a terminal: safe characters, short ids, counted nouns."""

from uuid import UUID

from rich.text import Text

SHORT_ID = 8
MINUTE = "%Y-%m-%d %H:%M"


def printable(text: str) -> Text:
    """Return text without markup, with a dot for each control character, so that no record can steer the terminal."""
    return Text("".join(one if one.isprintable() or one == "\n" else "·" for one in text))


def short_id(identifier: UUID) -> str:
    """Return the first eight characters of an id."""
    return str(identifier)[:SHORT_ID]


def format_count(count: int, noun: str) -> str:
    """Return `1 journey`, `2 journeys`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
