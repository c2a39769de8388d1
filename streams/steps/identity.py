"""Identity map: exact identifiers and the customers that they belong to.

Touchpoints that share an identifier belong to one customer. A touchpoint with identifiers of two customers merges them.
The map consists of small rows. `link` writes them, and every worker copies the first two kinds for `identify`:

| key                                | value                                                      |
|------------------------------------|------------------------------------------------------------|
| `i` + kind + 0x1f + identifier     | id of the customer that first had the identifier           |
| `c` + customer id                  | id of the customer that this one was merged into           |
| `s` + customer id (`link` only)    | msgpack: ids of the customers that were merged into it     |

`touchline.identity` carries the rows as `edge` and `merge` records, which also name the reason.
"""

from collections.abc import Callable, Sequence
from uuid import uuid5

from schemas.records.fields import uuid5_bytes
from schemas.records.touchpoint import NAMESPACE
from schemas.wire.codec import Fields, decode

CUSTOMER_NAMESPACE = uuid5(NAMESPACE, "customer").bytes
RULE = "exact-identifier"
Lookup = Callable[[bytes], bytes | None]


def identifier_key(kind: str, value: str) -> bytes:
    """Return the row key of an identifier."""
    return f"i{kind}\x1f{value}".encode()


def merge_key(customer_id: bytes) -> bytes:
    """Return the key of the row that names the customer which `customer_id` was merged into."""
    return b"c" + customer_id


def former_customers_key(customer_id: bytes) -> bytes:
    """Return the key of the row that lists the customers which were merged into `customer_id`."""
    return b"s" + customer_id


def new_customer_id(kind: str, value: str) -> bytes:
    """Return the id of the customer that a new identifier creates. It is a UUIDv5, so a replay creates the same customer."""
    return uuid5_bytes(CUSTOMER_NAMESPACE, f"{kind}\x1f{value}")


def read_customer_id(value: bytes) -> bytes:
    """Return the part of an `edge` or `merge` record that the map keeps."""
    name, fields = decode(value)
    customer: bytes = fields["customer_id"] if name == "edge" else fields["to_customer"]
    return customer


def find_canonical_customer(customer_id: bytes, lookup: Lookup) -> bytes:
    """Return the customer that `customer_id` now belongs to: follow its merges, or return it unchanged."""
    while (merged := lookup(merge_key(customer_id))) is not None:
        customer_id = merged
    return customer_id


def find_known_customer(identifiers: Sequence[Fields], lookup: Lookup) -> bytes | None:
    """Return the one customer of all identifiers, or None when one is new or they disagree (then `link` decides).

    The answer is right with an old copy of the map: identifiers are never removed, and a merged customer forwards its
    touchpoints.
    """
    known = None
    for identifier in identifiers:
        first = lookup(identifier_key(identifier["kind"], identifier["value"]))
        if first is None:
            return None
        customer = first if first == known else find_canonical_customer(first, lookup)
        if known not in (None, customer):
            return None
        known = customer
    return known
