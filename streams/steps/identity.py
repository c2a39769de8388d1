"""Exact-identifier identity: touchpoints that share an identifier are one customer's; a touchpoint that holds identifiers
of two customers makes them one.

The map is a set of small rows, kept by the sequencer (`link`) and copied to every worker for reading (`identify`):

| key                                | value                                                           |
|------------------------------------|-----------------------------------------------------------------|
| `i` + kind + 0x1f + identifier     | the id of the customer that the identifier was first given to   |
| `c` + customer id                  | the id of the customer that it is now part of                   |
| `s` + customer id (sequencer only) | msgpack: the former customers of a standing customer            |

`touchline.identity` carries them as `edge` and `merge` records, which say why, too.
"""

from collections.abc import Callable, Sequence
from uuid import uuid5

from schemas.records.fields import uuid5_bytes
from schemas.records.touchpoint import NAMESPACE
from schemas.wire.codec import Fields, decode

CUSTOMER = uuid5(NAMESPACE, "customer").bytes
RULE = "exact-identifier"
Lookup = Callable[[bytes], bytes | None]


def identifier_key(kind: str, value: str) -> bytes:
    """The row key of an identifier."""
    return f"i{kind}\x1f{value}".encode()


def merge_key(customer_id: bytes) -> bytes:
    """The row key that says what a customer was merged into."""
    return b"c" + customer_id


def founded(kind: str, value: str) -> bytes:
    """The id of the customer that an identifier unknown so far founds: UUIDv5, so that a replay founds the same one."""
    return uuid5_bytes(CUSTOMER, f"{kind}\x1f{value}")


def customer_in(value: bytes) -> bytes:
    """What the map keeps of an `edge` or `merge` record."""
    name, fields = decode(value)
    customer: bytes = fields["customer_id"] if name == "edge" else fields["to_customer"]
    return customer


def standing(customer_id: bytes, lookup: Lookup) -> bytes:
    """The customer that `customer_id` is now part of: itself, or where its merges lead."""
    while (merged := lookup(b"c" + customer_id)) is not None:
        customer_id = merged
    return customer_id


def known_customer(identifiers: Sequence[Fields], lookup: Lookup) -> bytes | None:
    """The one customer of all identifiers, or None where one is new or they disagree (then the sequencer decides).

    Right with an old copy of the map: identifiers are never taken away, and a merged customer's partition forwards.
    """
    found = None
    for identifier in identifiers:
        first = lookup(identifier_key(identifier["kind"], identifier["value"]))
        if first is None:
            return None
        customer = first if first == found else standing(first, lookup)
        if found not in (None, customer):
            return None
        found = customer
    return found
