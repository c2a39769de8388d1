"""Identifiers by which a source knows a customer, normalised to one spelling each.

The kinds `email`, `phone` and `loyalty` are global. Every other kind belongs to the system that issued it: the value begins with
the name of that system, so that contact 42 of one CRM is never contact 42 of another.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b

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
ID_BYTES = 16
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class Identifier(BaseModel):
    """One identifier of a customer: a kind (`email`, `phone`, `crm_contact`, `erp_party`, ...) and its normalised value.

    `raw` is the spelling of the source, None where it equals `value`. `rules` is the version of the normalisation, None for 1.
    With both, later rules can be applied to old records.
    """

    model_config = ConfigDict(frozen=True)

    kind: Name
    value: Word
    raw: Word | None = None
    rules: int | None = None


def identifier_id(secret: bytes, kind: str, value: str) -> bytes:
    """Return the 16 bytes that identify an identifier everywhere, keyed by the secret of the installation.

    `kind` and `value` are those of `Identifier`, so the value is normalised and scoped.
    """
    return blake2b(f"{kind}\x1f{value}".encode(), key=secret, digest_size=ID_BYTES).digest()


def identify(system: str, values: Mapping[str, str | None]) -> list[Identifier]:
    """Return the usable identifiers of `values`, which maps kind to value, or `kind@system` for a value of another system.

    Placeholders, malformed addresses and numbers with fewer than seven digits are left out: they would join strangers.
    """
    found = []
    for name, value in values.items():
        kind, _, owner = name.partition("@")
        normal = normalise(kind, value)
        if normal is not None:
            found.append(Identifier(kind=kind, value=normal if kind in GLOBAL_KINDS else f"{owner or system}/{normal}"))
    return found


def normalise(kind: str, value: str | None) -> str | None:
    """Return the one spelling of an identifier, or None for a value that identifies no one."""
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
