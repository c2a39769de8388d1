"""Route of a customer: the customers to which its touchpoints belong now.

A touchpoint carries its nodes: the first 8 bytes of the id of each identifier, the strongest identifier first. It belongs to the
owner of its first node that is not shared. If all its nodes are shared, it belongs to the first one, which is then a customer of
its own. A touchpoint without nodes comes from an older version and belongs to the route's current customer.
"""

from collections.abc import Iterable

import msgspec

from schemas.wire.codec import Fields
from streams.touchpoint import NODE_BYTES

MAX_LOST = 256


class Route(msgspec.Struct, array_like=True, frozen=True):
    """Route as a row keeps it. `owners` maps nodes with another owner than `current`, `shared` maps shared nodes to their ids.

    Both are sorted, so that equal routes have equal bytes.
    """

    current: bytes
    owners: dict[bytes, bytes] = {}
    shared: dict[bytes, bytes] = {}

    def find_owner(self, nodes: bytes) -> bytes:
        """Return the customer of a touchpoint with these nodes."""
        for start in range(0, len(nodes), NODE_BYTES):
            node = nodes[start : start + NODE_BYTES]
            if node not in self.shared:
                return self.owners.get(node, self.current)
        return self.shared[nodes[:NODE_BYTES]] if nodes else self.current


def read_route(fields: Fields) -> Route | None:
    """Return the route of a `route` record, or None when every touchpoint stays with its customer."""
    owners = {each["identifier_id"][:NODE_BYTES]: each["customer_id"] for each in fields["exceptions"]}
    shared = {each[:NODE_BYTES]: each for each in fields["shared"]}
    route = Route(fields["current"], dict(sorted(owners.items())), dict(sorted(shared.items())))
    return None if route == Route(fields["customer_id"]) else route


def add_lost(known: Iterable[bytes], more: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the sorted union of two sets of nodes. Empty nodes stand for those above `MAX_LOST`."""
    union = sorted({*known, *more})
    return tuple(union if len(union) <= MAX_LOST else sorted({b"", *union})[:MAX_LOST])
