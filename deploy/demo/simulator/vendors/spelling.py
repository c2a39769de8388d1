"""Spellings of one address or number. `schemas/records/identifiers.py` normalises all of them to the same value."""

from random import Random


def vary_email(email: str, rng: Random) -> str:
    """Return the address unchanged (85 %), in other capitals, or between spaces."""
    return rng.choices((email, email.upper(), email.title(), f" {email} "), (85, 5, 6, 4))[0]


def vary_phone(phone: str, rng: Random) -> str:
    """Return `phone` (+1 and ten digits) in one of five formats, all with the country code."""
    area, exchange, line = phone[2:5], phone[5:8], phone[8:]
    forms = (
        phone,
        f"+1 {area} {exchange} {line}",
        f"+1 ({area}) {exchange}-{line}",
        f"001-{area}-{exchange}-{line}",
        f"1.{area}.{exchange}.{line}",
    )
    return rng.choices(forms, (50, 20, 15, 8, 7))[0]
