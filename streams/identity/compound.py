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
Compounds = Callable[[Mapping[str, str]], list[tuple[str, str]]]


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
    return compile_keys(keys)(traits)


def compile_keys(keys: Sequence[CompoundKey]) -> Compounds:
    """Return `compound_values` for these keys. It reads a piece that several keys have only once."""
    pieces = list(dict.fromkeys(piece for key in keys for piece in key.pieces))
    compiled = [(key.kind, [pieces.index(piece) for piece in key.pieces]) for key in keys]

    def read(traits: Mapping[str, str]) -> list[tuple[str, str]]:
        values = [_read(piece, traits) for piece in pieces]
        found = []
        for kind, places in compiled:
            parts = [values[place] for place in places]
            if all(parts):
                found.append((kind, SEPARATOR.join(parts)))
        return found

    return read


def cache_compound_values(keys: Sequence[CompoundKey]) -> Compounds:
    """Return `compound_values` for these keys. Recent traits are answered from memory."""
    read = compile_keys(keys)
    cached = lru_cache(MAX_CACHED)(lambda traits: read(dict(traits)))
    return lambda traits: cached(tuple(traits.items()))


def _read(piece: Piece, traits: Mapping[str, str]) -> str:
    """Return a piece, or an empty text when one of its traits is missing or a placeholder."""
    form = FORMS[piece.form]
    if len(piece.traits) == 1:
        return form(traits.get(piece.traits[0], ""))
    values = sorted([form(traits.get(name, "")) for name in piece.traits])
    return SEPARATOR.join(values) if all(values) else ""
