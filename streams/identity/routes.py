"""Routes: for each customer id that lost a node, the customers that its touchpoints belong to now.

A touchpoint belongs to the owner of its first unshared node. It may arrive under an older customer id, and then follows the
route of that id. The route knows each node that the id ever owned (`Node.routes`). When a node becomes shared, its touchpoints
follow their next node, so the route knows the neighbours of that node as well.
"""

from collections.abc import Iterable, Mapping

from streams.identity.committed import CommittedRows
from streams.identity.rows import MAX_EXCEPTIONS, MAX_MEMBERS, ROUTE, Node, RouteRow, decode_route, encode_row


def update_route(
    rows: CommittedRows, customer_id: bytes, nodes: Mapping[bytes, Node], members: Iterable[bytes]
) -> RouteRow | None:
    """Write the route of a customer id after a change of `members`. Return it if it changed.

    `nodes` holds the members and their shared neighbours. Nodes without an entry belong to the current customer. When that one
    changes, all of them are among the members, because they were in one cluster with the node of `customer_id`.
    """
    stored: RouteRow | None = rows.get(ROUTE + customer_id, decode_route)
    old = stored or RouteRow(customer_id)
    own = nodes.get(customer_id)
    current = old.current if own is None else own.owner
    exceptions, shared = dict(old.exceptions), set(old.shared)
    for id_ in members:
        node = nodes[id_]
        if customer_id not in node.routes:
            continue
        exceptions.pop(id_, None)
        if node.is_shared:
            shared.add(id_)
        elif node.owner != current:
            exceptions[id_] = node.owner
        else:
            continue
        shared.update(other for other in node.neighbours if other in nodes and nodes[other].is_shared)
    exceptions = {id_: owner for id_, owner in sorted(exceptions.items())[:MAX_EXCEPTIONS] if owner != current}
    new = RouteRow(current, exceptions, sorted(shared)[:MAX_MEMBERS])
    if new == (stored or RouteRow(customer_id)):
        return None
    rows.put(ROUTE + customer_id, new, encode_row)
    return new
