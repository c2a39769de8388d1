"""Identifiers: what a source knows a customer by, brought to one spelling so that equal means equal.

An address or a number is the same everywhere (`email`, `phone`, `loyalty`); every other kind belongs to the system that
gave it, and its value carries that system's name, so that contact 42 of one CRM is never contact 42 of another.
"""

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Name, Word

GLOBAL_KINDS = frozenset({"email", "phone", "loyalty"})
PLACEHOLDERS = frozenset(
    {
        "",
        "-",
        "-1",
        "0",
        "null",
        "none",
        "nil",
        "nan",
        "n/a",
        "na",
        "unknown",
        "anonymous",
        "undefined",
        "test",
        "test@test.com",
    }
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class Identifier(BaseModel):
    """One way to know a customer: a kind (`email`, `phone`, `crm_contact`, `erp_party`, ...) and its normalised value."""

    model_config = ConfigDict(frozen=True)

    kind: Name
    value: Word


def identify(system: str, values: Mapping[str, str | None]) -> list[Identifier]:
    """The usable identifiers among `values`, keyed by kind or `kind@system` where another system gave the value.

    Placeholders, malformed addresses and numbers of fewer than seven digits are left out: they would join strangers.
    """
    found = []
    for name, value in values.items():
        kind, _, owner = name.partition("@")
        normal = normalise(kind, value)
        if normal is not None:
            found.append(Identifier(kind=kind, value=normal if kind in GLOBAL_KINDS else f"{owner or system}/{normal}"))
    return found


def normalise(kind: str, value: str | None) -> str | None:
    """One spelling per identifier, or None where the value identifies nobody."""
    text = (value or "").strip()
    if text.lower() in PLACEHOLDERS or not text.strip("0"):
        return None
    if kind == "email":
        return text.lower() if EMAIL.fullmatch(text) else None
    if kind == "phone":
        digits = re.sub(r"\D", "", text)
        digits = digits.removeprefix("00") if text.startswith("00") else digits
        return f"+{digits}" if len(digits) >= 7 and digits.strip("0") else None
    return text
