"""Identifiers of one record: the usable ones, normalised and scoped, and the refused ones with their reasons."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from schemas.records.identifiers import Identifier
from schemas.records.normalisation.email import normalise_email
from schemas.records.normalisation.placeholders import is_placeholder
from schemas.records.normalisation.refusal import RefusedError, RefusedIdentifier
from schemas.records.normalisation.text import clean_text

RULES_VERSION = 2
MAX_RAW_CHARACTERS, MAX_VALUE_CHARACTERS = 1_000, 200
DAMAGED_PHONE = re.compile(r"[+-]?\d+(?:[.,]\d*)?e[+-]?\d+", re.IGNORECASE)
DAMAGED_ID = re.compile(r"[+-]?\d+(?:[.,]\d*e[+-]?|e[+-])\d+", re.IGNORECASE)
GROUPED_DIGITS = re.compile(r"\d[\d -]*")


class IdentifierRules(NamedTuple):
    """Settings of a feed: country of its phone numbers, name of its loyalty programme, placeholders of its own."""

    region: str | None = None
    programme: str | None = None
    placeholders: tuple[str, ...] = ()


class Normal(NamedTuple):
    """A normal value. Where `is_global` is False, the name of a system or programme belongs in front of it."""

    value: str
    is_global: bool


class Identified(NamedTuple):
    """Identifiers of a record, and its refused values."""

    identifiers: list[Identifier]
    refused: list[RefusedIdentifier]


NO_RULES = IdentifierRules()


def identify(system: str, values: Mapping[str, str | None], rules: IdentifierRules = NO_RULES) -> Identified:
    """Return the identifiers of `values`, which maps kind to value, or `kind@owner` for a value of another system or programme.

    A missing or blank value is neither usable nor refused.
    """
    found: dict[tuple[str, str], Identifier] = {}
    refused: list[RefusedIdentifier] = []
    for name, raw in values.items():
        if not raw or raw.isspace():
            continue
        kind, _, owner = name.partition("@")
        usable = _identify_value(kind, raw, owner or (kind == "loyalty" and rules.programme) or system, rules)
        if isinstance(usable, RefusedIdentifier):
            refused.append(usable)
            continue
        for each in usable:
            found.setdefault((kind, each.value), each)
    return Identified(list(found.values()), refused)


@lru_cache(maxsize=8_192)
def _identify_value(kind: str, raw: str, scope: str, rules: IdentifierRules) -> tuple[Identifier, ...] | RefusedIdentifier:
    """Return the identifiers of one value. A customer's records often follow each other, and placeholders repeat."""
    try:
        normals = normalise(kind, raw, rules)
    except RefusedError as error:
        return RefusedIdentifier(kind, error.reason)
    scoped = [value if is_global else f"{scope}/{value}" for value, is_global in normals]
    if any(len(each) > MAX_VALUE_CHARACTERS for each in scoped):
        return RefusedIdentifier(kind, "too_long")
    spellings = [None if raw == value else raw for value, _ in normals]
    return tuple(
        Identifier(kind=kind, value=value, raw=own, rules=RULES_VERSION) for value, own in zip(scoped, spellings, strict=True)
    )


def normalise(kind: str, raw: str, rules: IdentifierRules = NO_RULES) -> tuple[Normal, ...]:
    """Return the normal spellings of a value: one, or each number of a text with several phone numbers. Raises RefusedError."""
    if len(raw) > MAX_RAW_CHARACTERS:
        raise RefusedError("too_long")
    text = clean_text(raw)
    if (DAMAGED_PHONE if kind == "phone" else DAMAGED_ID).fullmatch(text):
        raise RefusedError("exponent")
    if is_placeholder(text, rules.placeholders):
        raise RefusedError("placeholder")
    normals = _normalise_kind(kind, text, rules.region)
    if any(is_placeholder(normal.value, rules.placeholders) for normal in normals if normal.value != text):
        raise RefusedError("placeholder")
    if not all(_is_unicode(normal.value) for normal in normals):
        raise RefusedError("malformed")
    return normals


def _normalise_kind(kind: str, text: str, region: str | None) -> tuple[Normal, ...]:
    if kind == "email":
        return (Normal(normalise_email(text), is_global=True),)
    if kind == "phone":
        from schemas.records.normalisation.phone import normalise_phones  # 30 ms and 3 MB that few processes need

        return tuple(Normal(*phone) for phone in normalise_phones(text, region))
    if kind == "loyalty" and GROUPED_DIGITS.fullmatch(text):
        return (Normal(re.sub(r"[ -]", "", text), is_global=False),)
    return (Normal(text, is_global=False),)


def _is_unicode(text: str) -> bool:
    """Return whether the text can be encoded: a lone surrogate cannot."""
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)
