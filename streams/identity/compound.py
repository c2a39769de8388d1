"""Compound keys: identifiers made of several traits, such as name, birth date and postcode.

A source often has no common identifier, but the same person. A compound key joins normalised pieces of the touchpoint's traits
into one value, and two touchpoints with the same value are of the same person. A touchpoint without one of the pieces has no
value of that key. Everything here is pure, so the same traits always give the same values.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from streams.identity.forms import FORMS

KIND_PREFIX = "key:"
MAX_CACHED = 10_000
SEPARATOR = "|"  # no form keeps this character


class Piece(NamedTuple):
    """One part of a key: the form of a trait, or of several traits in alphabetical order, so that swapped fields are equal."""

    traits: tuple[str, ...]
    form: str


class CompoundKey(NamedTuple):
    """Compound key of the settings. Keys with a smaller `priority` link first. `confidence` is a share from 0 to 1."""

    name: str
    pieces: tuple[Piece, ...]
    priority: int
    confidence: float

    @property
    def kind(self) -> str:
        """Kind of the identifiers that this key makes."""
        return f"{KIND_PREFIX}{self.name}"


def compound_values(traits: Mapping[str, str], keys: Sequence[CompoundKey]) -> list[tuple[str, str]]:
    """Return the kind and value of each key whose traits are all present, in the order of `keys`."""
    found = []
    for key in keys:
        pieces = [_read(piece, traits) for piece in key.pieces]
        if all(pieces):
            found.append((key.kind, SEPARATOR.join(pieces)))
    return found


def cache_compound_values(keys: Sequence[CompoundKey]) -> Callable[[Mapping[str, str]], list[tuple[str, str]]]:
    """Return `compound_values` for these keys. Recent traits are answered from memory."""
    cached = lru_cache(MAX_CACHED)(lambda traits: compound_values(dict(traits), keys))
    return lambda traits: cached(tuple(traits.items()))


def _read(piece: Piece, traits: Mapping[str, str]) -> str:
    """Return a piece, or an empty text when one of its traits is missing or a placeholder."""
    form = FORMS[piece.form]
    if len(piece.traits) == 1:
        return form(traits.get(piece.traits[0], ""))
    values = sorted([form(traits.get(name, "")) for name in piece.traits])
    return SEPARATOR.join(values) if all(values) else ""
