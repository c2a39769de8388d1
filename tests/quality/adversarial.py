"""Adversarial touchpoints: people who look alike, and one person who looks like several, with the truth.

Each function makes one case of its kind: touchpoints that a naive join confuses. The values pass the real normalisation. A
value that it refuses is missing in the touchpoint, as in a connector.

The same evidence can stand for one person and for two: two e-mail addresses with one phone number are a person with two
addresses, or a couple. Kinds that end with `_undecidable` hold the second reading. They are measured like all others.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

from schemas.records.normalisation.rules import IdentifierRules, identify
from tests.quality.labelled import Labelled, make_touchpoint

CASES = 25  # fewer than the years between two kinds of people
UNDECIDABLE = "_undecidable"
UNJUDGED = ""  # the person of a forged touchpoint
PLACEHOLDERS = {
    "email": ("noreply@shop.example", "no-reply@example.org", "test@test.com", "null", "#N/A", "(null)"),
    "phone": ("4.91512E+12", "0000000000", "9999999999", "+49 000 0000000", "123456789", "#N/A"),
    "user_id": (
        *("00000000-0000-0000-0000-000000000000", "[object Object]", "\\N", "#N/A", "(null)", "guest", "true", "undefined"),
        *("-1", "0", "None", "NaN", "nil", "unknown", "anonymous", "test", "n/a", "-", "xxx", "4.91512E+12"),
    ),
    "loyalty": ("0000000", "4.91512E+12", "none"),
}
# three spellings of one number in each country
PHONES = {
    "DE": ("0151 234 56{0:03}", "+49 151 234 56{0:03}", "+49 (0)151/23456{0:03}"),
    "AT": ("0664 123 4{0:03}", "+43 664 1234{0:03}", "0043-664-1234{0:03}"),
    "CH": ("079 123 4{0:03}", "+41 79 123 4{0:03}", "0041 79 1234{0:03}"),
    "FR": ("06 12 34 5{0:03}", "+33 6 12 34 5{0:03}", "+33 (0)6 12 34 5{0:03}"),
    "GB": ("07911 123{0:03}", "+44 7911 123{0:03}", "+44 (0)7911 123{0:03}"),
    "US": ("(212) 555-2{0:03}", "+1 212 555 2{0:03}", "1-212-555-2{0:03}"),
}
ADDRESS = {"postcode": "2119", "city": "Cleveland", "street": "Wallaby Place", "street_number": "7"}


class Case:
    """Touchpoints of one case. `own` gives a person values of its own."""

    def __init__(self, kind: str, place: int, number: int, numbers: Iterator[int]) -> None:
        self.kind = kind
        self._code = f"{10_000 + place * 100 + number}"
        self.number = number
        self.labelled: list[Labelled] = []
        self._numbers = numbers

    @property
    def key(self) -> str:
        """Part of all values of the case, so that no value is in two cases."""
        return f"{self.kind.replace('_', '-')}-{self.number}"

    def own(self, person: int, *kinds: str) -> dict[str, str]:
        """Return values that only this person has, by kind."""
        values = {
            "email": f"person{person}.{self.key}@example.org",
            "phone": f"+49 30 {self._code}{person:02}",
            "erp_party": f"P-{self.key}-{person}",
            "crm_contact": f"C-{self.key}-{person}",
            "user_id": f"user-{self.key}-{person}",
            "cookie": f"cookie-{self.key}-{person}",
        }
        return {kind: values[kind] for kind in kinds}

    def shared_phone(self, number: int = 99) -> str:
        return f"+49 30 {self._code}{number:02}"

    def shared(self, name: str) -> str:
        return f"{name}-{self.key}"

    def add(
        self,
        person: int | str,
        values: Mapping[str, str],
        traits: Mapping[str, str] | None = None,
        *,
        system: str = "shop",
        rules: IdentifierRules | None = None,
        verified: bool | None = None,
    ) -> None:
        identifiers = identify(system, values, rules or IdentifierRules()).identifiers
        if identifiers:
            fields = make_touchpoint(system, next(self._numbers), identifiers, traits, verified=verified)
            name = UNJUDGED if person == UNJUDGED else f"{self.key}-{person}"
            self.labelled.append(Labelled(fields, name, self.kind, self.key))


def shared_tablet(case: Case) -> None:
    """A tablet in a shop: thirty customers sign in on it."""
    for person in range(30):
        case.add(person, case.own(person, "email") | {"device": case.shared("tablet")})
        case.add(person, case.own(person, "email"))


def shared_browser(case: Case) -> None:
    """Two people with accounts on one browser."""
    for person in range(2):
        case.add(person, case.own(person, "user_id") | {"cookie": case.shared("browser")})
        case.add(person, case.own(person, "user_id", "email"))
    case.add(UNJUDGED, {"cookie": case.shared("browser")})


def family_phone(case: Case) -> None:
    """Four customers of the ERP with one phone number."""
    for person in range(4):
        case.add(person, case.own(person, "erp_party", "email"))
        case.add(person, case.own(person, "erp_party") | {"phone": case.shared_phone()})
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})


def crowded_phone(case: Case) -> None:
    """Eight people without a customer number and with one phone number, such as that of an office."""
    for person in range(8):
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})
        case.add(person, case.own(person, "email"))


def couple_phone_undecidable(case: Case) -> None:
    """Two people with own addresses and one phone number. A person with two addresses looks the same."""
    for person in range(2):
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})


def family_phone_undecidable(case: Case) -> None:
    """Four people with own addresses, no customer number and one phone number."""
    for person in range(4):
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})


def role_mailbox(case: Case) -> None:
    """Twelve contacts of a company with one address."""
    for person in range(12):
        case.add(person, case.own(person, "crm_contact") | {"email": f"info@{case.key}.example"})
        case.add(person, case.own(person, "crm_contact", "phone"))


def role_mailbox_of_two(case: Case) -> None:
    """Two customers of the ERP with one address, such as two branches of a company."""
    for person in range(2):
        case.add(person, case.own(person, "erp_party") | {"email": f"office@{case.key}.example"})
        case.add(person, case.own(person, "erp_party", "phone"))


def role_mailbox_undecidable(case: Case) -> None:
    """Two contacts of a CRM with one address. A contact that the CRM holds twice looks the same."""
    for person in range(2):
        case.add(person, case.own(person, "crm_contact") | {"email": f"info@{case.key}.example"})


def recycled_number(case: Case) -> None:
    """A phone number that another customer of the ERP gets later."""
    for person in range(2):
        case.add(person, case.own(person, "erp_party") | {"phone": case.shared_phone()})
        case.add(person, case.own(person, "erp_party", "email"))
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})


def recycled_number_undecidable(case: Case) -> None:
    """A phone number that another person gets later, both without a customer number."""
    for person in range(2):
        case.add(person, case.own(person, "email") | {"phone": case.shared_phone()})
        case.add(person, case.own(person, "email"))


def mistyped_email(case: Case) -> None:
    """A customer of the ERP who once types the address of another."""
    for person in range(2):
        case.add(person, case.own(person, "erp_party", "email"))
        case.add(person, case.own(person, "erp_party", "phone"))
    case.add(1, case.own(1, "erp_party") | case.own(0, "email"))


def mistyped_email_undecidable(case: Case) -> None:
    """A person without a customer number who once types the address of another."""
    for person in range(2):
        case.add(person, case.own(person, "phone", "email"))
    case.add(1, case.own(1, "phone") | case.own(0, "email"))


def phone_of_two_countries(case: Case) -> None:
    """Two people with the same national number in two systems, neither of which names its country."""
    for person, system in enumerate(("shop-north", "shop-south")):
        number = {"phone": f"(030) 55{case.number:02} 1234"}
        case.add(person, number, system=system)
        case.add(person, case.own(person, "email") | number, system=system)


def loyalty_of_two_programmes(case: Case) -> None:
    """Two people with the same number in two loyalty programmes."""
    for person, programme in enumerate(("miles", "points")):
        rules = IdentifierRules(programme=programme)
        case.add(person, {"loyalty": f"77{case.number:04}"}, rules=rules)
        case.add(person, case.own(person, "email") | {"loyalty": f"77{case.number:04}"}, rules=rules)


def keyless_web(case: Case) -> None:
    """Two customers, and forged web events that name both of them, or the browser of one with the address of the other."""
    for person in range(2):
        case.add(person, case.own(person, "email", "user_id", "cookie"))
        case.add(person, case.own(person, "email"))
    forged = (
        case.own(0, "email") | {"user_id": case.own(1, "user_id")["user_id"]},
        case.own(0, "cookie") | case.own(1, "email"),
        case.own(1, "cookie") | case.own(0, "email"),
    )
    for values in forged:
        case.add(UNJUDGED, values, verified=False)


def chain(case: Case) -> None:
    """Twelve customers of the ERP, each of whom shares a phone number with the next one."""
    for person in range(12):
        case.add(person, case.own(person, "erp_party") | {"phone": case.shared_phone(person + 50)})
        case.add(person, case.own(person, "erp_party") | {"phone": case.shared_phone(person + 51)})


def namesakes(case: Case) -> None:
    """Two customers of the ERP with the same name and birth date."""
    traits = _traits(case, given_name="Maria", surname="Schmidt", year=1920)
    for person in range(2):
        case.add(person, case.own(person, "erp_party"), traits)
        case.add(person, case.own(person, "erp_party", "email"), traits)


def namesakes_undecidable(case: Case) -> None:
    """Two people without a customer number and with the same name and birth date."""
    for person in range(2):
        case.add(person, case.own(person, "email"), _traits(case, given_name="Maria", surname="Schmidt", year=1950))


def twins(case: Case) -> None:
    """Twins at one address, with consecutive national ids."""
    for person, name in enumerate(("Anna", "Berta")):
        traits = _traits(case, given_name=name, surname="Meier", year=1950) | {
            "national_id": f"{chr(ord('A') + case.number)}80497{person}"
        }
        case.add(person, case.own(person, "email"), traits)
        case.add(person, case.own(person, "phone"), traits)


def father_and_son(case: Case) -> None:
    """Two people with one name at one address."""
    for person, year in enumerate((1925, 1975)):
        traits = _traits(case, given_name="Paul", surname="Weber", year=year)
        case.add(person, case.own(person, "email"), traits)
        case.add(person, case.own(person, "phone"), traits)


def placeholder_traits(case: Case) -> None:
    """Three people at one address whose name or birth date a system made up."""
    for person in range(3):
        made_up = ({"birth_date": "1900-01-01"}, {"given_name": "Unknown"}, {"birth_date": "1970-01-01", "surname": "N/A"})
        for traits in made_up:
            known = _traits(case, given_name="Kim", surname="Lee", year=1900) | {"birth_date": "1970-01-01"}
            case.add(person, case.own(person, "email"), known | traits)


def phone_spellings(case: Case) -> None:
    """One number in three spellings, in each of six countries."""
    for person, (region, spellings) in enumerate(PHONES.items()):
        for spelling in spellings:
            case.add(person, {"phone": spelling.format(case.number + 100)}, rules=IdentifierRules(region=region))


def email_spellings(case: Case) -> None:
    """One address in the spellings that sources send."""
    name, domain = f"zoe.{case.key}", "m\u00fcller.example"
    composed, decomposed = "zo\u00eb", "zoe\u0308"
    spellings = (
        f"{name}@{domain}",
        f" {name.upper()}@{domain} ",
        f"{name}@xn--mller-kva.example",
        f"mailto:{name}@{domain}",
        f"{name}\u200b@{domain}",
        f"{name}\uff20{domain}",
        f"{name}@mu\u0308ller.example",
        f"Zo\u00eb <{name}@{domain}>",
    )
    for spelling in spellings:
        case.add(0, {"email": spelling})
    for local in (composed, decomposed):
        case.add(1, {"email": f"{local}.{case.key}@example.org"})


def several_addresses(case: Case) -> None:
    """One person with four addresses and one phone number."""
    for number in range(4):
        case.add(0, {"email": f"address{number}.{case.key}@example.org", "phone": case.shared_phone()})


def repeated_contact(case: Case) -> None:
    """One person whom the CRM holds three times."""
    for number in range(3):
        case.add(0, {"crm_contact": f"C-{case.key}-{number}", "email": f"repeated.{case.key}@example.org"})


KINDS: Sequence[Callable[[Case], None]] = (
    *(shared_tablet, shared_browser, family_phone, crowded_phone, couple_phone_undecidable, family_phone_undecidable),
    *(role_mailbox, role_mailbox_of_two, role_mailbox_undecidable, recycled_number, recycled_number_undecidable),
    *(mistyped_email, mistyped_email_undecidable, phone_of_two_countries, loyalty_of_two_programmes, keyless_web, chain),
    *(namesakes, namesakes_undecidable, twins, father_and_son, placeholder_traits),
    *(phone_spellings, email_spellings, several_addresses, repeated_contact),
)


def make_adversarial(seed: int, cases: int = CASES) -> list[Labelled]:
    """Return the touchpoints of `cases` cases of each kind and of a case for each placeholder, in random order."""
    numbers = count()
    labelled = []
    for place, make in enumerate(KINDS):
        for number in range(cases):
            case = Case(make.__name__, place, number, numbers)
            make(case)
            labelled += case.labelled
    for place, (kind, values) in enumerate(PLACEHOLDERS.items(), len(KINDS)):
        for number, value in enumerate(values):
            case = Case(f"placeholder_{kind}", place, number, numbers)
            for person in range(3):
                case.add(person, case.own(person, "email" if kind != "email" else "phone") | {kind: value})
            labelled += case.labelled
    random.Random(seed).shuffle(labelled)
    return labelled


def _traits(case: Case, *, given_name: str, surname: str, year: int) -> dict[str, str]:
    """Return traits of a person at one address. People of other cases are born in other years from `year` on."""
    return {"given_name": given_name, "surname": surname, "birth_date": f"{year + case.number}-04-09", **ADDRESS}
