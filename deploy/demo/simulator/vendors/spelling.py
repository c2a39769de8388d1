"""One address or number as people and systems write it; every spelling means the same to `schemas/records/identifiers.py`."""

from random import Random


def email_as_typed(email: str, rng: Random) -> str:
    """Mostly as it is; now and then in capitals or with spaces around."""
    return rng.choices((email, email.upper(), email.title(), f" {email} "), (85, 5, 6, 4))[0]


def phone_as_typed(phone: str, rng: Random) -> str:
    """`phone` (+1 and ten digits) in one of five formats, the country code always in it."""
    area, exchange, line = phone[2:5], phone[5:8], phone[8:]
    forms = (
        phone,
        f"+1 {area} {exchange} {line}",
        f"+1 ({area}) {exchange}-{line}",
        f"001-{area}-{exchange}-{line}",
        f"1.{area}.{exchange}.{line}",
    )
    return rng.choices(forms, (50, 20, 15, 8, 7))[0]
