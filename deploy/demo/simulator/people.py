"""The simulated customers, and the identifiers that each system has of them.

Records link most identifiers of a customer. A few stay apart, as in reality: an order without a link to the CRM, a second
private address, a handle that is not in the CRM. All addresses and numbers are in the ranges reserved for examples
(example.com, 555-01xx).
"""

from random import Random
from typing import Literal, NamedTuple

from deploy.demo.simulator.parameters import Parameters

MAX_CUSTOMERS = 29_900
FIRST = ("Ada", "Bianca", "Carlos", "Emeka", "Farah", "Hana", "Iris", "Jonas", "Lina", "Mei", "Omar", "Pavel", "Zoe")
LAST = ("Adler", "Baker", "Chen", "Diallo", "Garcia", "Ito", "Kaya", "Miller", "Novak", "Patel", "Rossi", "Weber")
ErpLink = Literal["contact", "email", "late email", "none"]


class Duplicate(NamedTuple):
    """A second CRM contact of the same person, created on the phone. Its e-mail address is added weeks later."""

    contact: str
    phone: str


class Person(NamedTuple):
    """One latent customer. `second_email` is used with support only; `handle` may be unknown to the CRM."""

    number: int
    segment: Literal["residential", "business"]
    email: str
    phone: str
    contact: str
    party: str
    erp_link: ErpLink
    second_email: str | None
    handle: str | None
    handle_in_crm: bool
    duplicate: Duplicate | None

    @property
    def name(self) -> str:
        """Return the customer's name in the truth files."""
        return f"c{self.number:05d}"


def create_person(number: int, rng: Random, parameters: Parameters, *, has_duplicate: bool) -> Person:
    """Create customer `number` (1 to MAX_CUSTOMERS); with `has_duplicate`, the CRM has two contacts of the person."""
    first, last = rng.choice(FIRST), rng.choice(LAST)
    business = rng.random() < parameters.business
    domain = f"{last.lower()}-{number}.example" if business else rng.choice(("example.com", "example.net", "example.org"))
    handle = f"{first.lower()}_{last.lower()}{number}@social.example" if rng.random() < 0.35 else None
    return Person(
        number=number,
        segment="business" if business else "residential",
        email=f"{first}.{last}{number}@{domain}".lower(),
        phone=_phone(number),
        contact=_contact(number),
        party=f"{10_000_000 + number:010d}",
        erp_link=rng.choices(("contact", "email", "late email", "none"), (70, 24, 4, 2))[0],
        second_email=f"{first}{number}@mail.example".lower() if rng.random() < 0.02 else None,
        handle=handle,
        handle_in_crm=rng.random() < 0.7,
        duplicate=Duplicate(_contact(number + MAX_CUSTOMERS), _phone(number + MAX_CUSTOMERS)) if has_duplicate else None,
    )


def _phone(index: int) -> str:
    return f"+1{201 + index // 100}55501{index % 100:02d}"


def _contact(index: int) -> str:
    return f"003Qy0000{index:06d}IAZ"
