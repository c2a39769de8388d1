"""Customers of touchpoints, from the records of the pure steps or of Kafka."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.wire.codec import Fields, decode
from schemas.wire.topics import IDENTITY, RESOLVED
from streams.identity.compound import CompoundKey
from streams.identity.naming import build_naming
from streams.identity.settings import IdentitySettings
from tests.harness.chain import SECRET, Chain
from tests.quality.labelled import Labelled

Customers = dict[bytes, bytes]


class Identities(NamedTuple):
    """Everything that must not depend on the order of touchpoints.

    - `members`: customer of each identifier, and whether it is shared.
    - `customers`: event ids of each customer, as the join keeps them.
    """

    members: dict[bytes, tuple[bytes, bool]]
    customers: dict[bytes, list[bytes]]


def run_chain(labelled: Sequence[Labelled], keys: Sequence[CompoundKey], seed: int, *, crashes: bool = False) -> Chain:
    """Run the pure steps on the touchpoints, in random interleaving. With `crashes`, chunks break off and are repeated."""
    chain = Chain(seed, crashes=crashes, naming=build_naming(SECRET, IdentitySettings(), keys))
    for each in labelled:
        chain.feed(each.fields)
    chain.run()
    return chain


def read_customers(values: Iterable[bytes]) -> Customers:
    """Return the current customer of each event id, given all values of `touchline.identity` and `touchline.resolved`.

    A touchpoint belongs to the owner of its strongest unshared identifier. If all are shared, it belongs to the first one.
    """
    members: dict[bytes, Fields] = {}
    nodes: dict[bytes, list[bytes]] = {}
    for name, fields in map(decode, values):
        if name == "member":
            members[fields["identifier_id"]] = fields
        elif name == "resolved":
            nodes[decode(fields["touchpoint"])[1]["event_id"]] = fields["identifiers"]
    return {event: _find_owner(ids, members) for event, ids in nodes.items()}


def _find_owner(ids: Sequence[bytes], members: dict[bytes, Fields]) -> bytes:
    owners: list[bytes] = [members[id_]["customer_id"] for id_ in ids if not members[id_]["is_shared"]]
    return owners[0] if owners else ids[0]


def read_chain(chain: Chain) -> Customers:
    """Return the current customer of each event id of a chain."""
    return read_customers(
        value for (topic, _), log in sorted(chain.topics.items()) if topic in (IDENTITY, RESOLVED) for value in log
    )


def read_identities(chain: Chain) -> Identities:
    """Return the part of a chain's result that must not depend on the order."""
    members = {id_: (fields["customer_id"], fields["is_shared"]) for id_, fields in chain.members().items()}
    customers = {id_: sorted(each.id for each in kept) for id_, kept in chain.touchpoints().items() if kept}
    return Identities(members, customers)
