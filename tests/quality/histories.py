"""Random histories for the comparison of ids: small pools of values of every kind, so that touchpoints meet in all ways."""

import random

from schemas.records.identifiers import Identifier
from streams.identity.compound_keys import parse_keys
from tests.quality.customers import Identities, read_identities, run_chain
from tests.quality.labelled import Labelled, make_touchpoint

KINDS = ("erp_party", "crm_contact", "national_id", "user_id", "email", "phone", "loyalty", "device", "cookie")
MAX_TOUCHPOINTS, MAX_IDENTIFIERS, MAX_POOL = 40, 4, 12
NAMES = ("Ann", "Anna", "Bob", "Robert")
DATES = ("1956-04-09", "1956-04-19", "1990-12-31")


def make_history(seed: int) -> list[Labelled]:
    """Return the touchpoints of a random history. A third carries traits, and a sixth comes from a web form without a key."""
    chance = random.Random(seed)
    pool = chance.randint(2, MAX_POOL)
    return [_make(chance, seed, number, pool) for number in range(chance.randint(2, MAX_TOUCHPOINTS))]


def _make(chance: random.Random, seed: int, number: int, pool: int) -> Labelled:
    identifiers = []
    for kind in chance.sample(KINDS, chance.randint(1, MAX_IDENTIFIERS)):
        value = chance.randrange(pool)
        scope = "" if kind in ("email", "phone", "loyalty") else f"system{chance.randrange(2)}/"
        identifiers.append(Identifier(kind=kind, value=f"{scope}{kind}{value}"))
    traits = None
    if chance.random() < 1 / 3:
        traits = {
            "given_name": chance.choice(NAMES),
            "surname": "Meier",
            "birth_date": chance.choice(DATES),
            "postcode": str(2119 + chance.randrange(2)),
        }
    verified = False if chance.random() < 1 / 6 else None
    fields = make_touchpoint(f"history{seed}", number, identifiers, traits, verified=verified)
    return Labelled(fields, "", "history", str(seed))


def count_differences(histories: int, orders: int) -> int:
    """Return the number of orders of random histories whose customers, with their ids, differ from those of the first order.

    The last order of each history also breaks off and repeats chunks.
    """
    keys = parse_keys("people")
    differences = 0
    for seed in range(histories):
        history = make_history(seed)
        first: Identities | None = None
        for order in range(orders):
            shuffled = random.Random(order).sample(history, len(history))
            found = read_identities(run_chain(shuffled, keys, seed * orders + order, crashes=order == orders - 1))
            first = first or found
            differences += found != first
    return differences
