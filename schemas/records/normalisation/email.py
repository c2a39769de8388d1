"""E-mail addresses: lower case, the domain in its ASCII form (IDNA)."""

import re

import idna

from schemas.records.normalisation.refusal import RefusedError
from schemas.records.normalisation.text import clean_text

ADDRESS = re.compile(r"[^@\s<>(),;:\"]+@[^@\s<>(),;:\"]+\.[^@\s<>(),;:\"]+")
DISPLAY_NAME = re.compile(r"[^<>]*<([^<>]+)>")


def normalise_email(text: str) -> str:
    """Return the address in its normal spelling. Raises RefusedError for another text, and for several addresses."""
    if named := DISPLAY_NAME.fullmatch(text):
        text = clean_text(named[1])
    text = clean_text(text.lower()).strip(" <>;,")
    if text.count("@") > 1:
        raise RefusedError("several_values")
    local, _, domain = text.partition("@")
    address = f"{local}@{_encode_domain(domain.rstrip('.'))}"
    if not ADDRESS.fullmatch(address) or ".." in address or domain.startswith("."):
        raise RefusedError("malformed")
    return address


def _encode_domain(domain: str) -> str:
    """Return the ASCII form. Names that DNS has but IDNA forbids, such as with an underscore, stay as they are."""
    if domain.isascii() and "xn--" not in domain:
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        if domain.isascii():
            return domain
        raise RefusedError("malformed") from None
