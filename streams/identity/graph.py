"""Graph of the identity map, and the change that one request makes to it."""

from bisect import insort
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from streams.identity.clusters import find_owners
from streams.identity.committed import CommittedRows
from streams.identity.routes import update_route
from streams.identity.rows import MAX_EDGES, MAX_MEMBERS, MAX_ROUTES, NODE, Node, RouteRow, add_sorted, decode_node, encode_row
from streams.identity.rules import Rules


class Before(NamedTuple):
    """Owner and flags of a node before a request. A new node has no owner."""

    owner: bytes | None
    is_shared: bool
    is_erased: bool


NEW = Before(None, False, False)


class Change:
    """Change of the graph by one request: load groups, add or remove links, then `settle`.

    A group is connected by edges between unshared nodes. It is loaded as it was before the request, so that it contains all
    customers that the request divides. The shared nodes around a group are loaded with it and do not belong to it.
    """

    def __init__(self, rows: CommittedRows, rules: Rules) -> None:
        self._rows = rows
        self._rules = rules
        self.nodes: dict[bytes, Node] = {}
        self._before: dict[bytes, Before] = {}
        self._members: set[bytes] = set()
        self._groups: list[set[bytes]] = []
        self._dirty: set[bytes] = set()
        self.newly_shared: list[bytes] = []

    def get(self, id_: bytes) -> Node | None:
        """Return a node, or None for a new one."""
        node = self.nodes.get(id_)
        if node is None:
            node = self._rows.get(NODE + id_, decode_node)
            if node is not None:
                self.nodes[id_] = node
                self._before[id_] = Before(node.owner, node.is_shared, node.is_erased)
        return node

    def create(self, id_: bytes, kind: str, value: str) -> Node:
        """Return a node, which is created where it is new."""
        node = self.get(id_)
        if node is None:
            node = self.nodes[id_] = Node(kind, value, id_)
            self._before[id_] = NEW
            self._dirty.add(id_)
        elif not node.kind and kind:
            node.kind, node.value = kind, "" if node.is_erased else value
            self._before[id_] = NEW
            self._dirty.add(id_)
        return node

    def mark(self, id_: bytes) -> None:
        """Mark a node as changed."""
        self._dirty.add(id_)

    def load_group(self, start: bytes) -> set[bytes]:
        """Load the group of a node and return its members; a shared node has none."""
        for known in self._groups:
            if start in known:
                return known
        group: set[bytes] = set()
        waiting = [start]
        while waiting:
            id_ = waiting.pop()
            if id_ in group:
                continue
            node = self.get(id_)
            if node is not None and not node.is_shared:
                group.add(id_)
                waiting += node.neighbours
                if node.joins:
                    waiting += [other for _, other, _ in node.joins]
        if group:
            self._groups.append(group)
            self._members |= group
        return group

    def unite(self, ids: Sequence[bytes]) -> list[bytes]:
        """Record that one touchpoint named these nodes together. Return the nodes that are left out because a group is full."""
        unshared = [id_ for id_ in ids if not self.nodes[id_].is_shared]
        frozen = {id_ for id_ in unshared if self.nodes[id_].is_full and self._is_new_link(id_, unshared)}
        loaded: set[bytes] = set()
        groups: list[set[bytes]] = []
        for id_ in unshared:
            if id_ not in loaded and id_ not in frozen:
                groups.append(self.load_group(id_))
                loaded |= groups[-1]
        groups.sort(key=len, reverse=True)
        united: set[bytes] = set()
        edges = 0
        for group in groups:
            added = sum([len(self.nodes[id_].neighbours) for id_ in group]) // 2 + len(ids)
            if not united or (len(united) + len(group) <= MAX_MEMBERS and edges + added <= MAX_EDGES):
                united |= group
                edges += added
        for a, b in combinations(ids, 2):
            node, other = self.nodes[a], self.nodes[b]
            if (
                (a in united and b in united)
                or node.is_shared
                or other.is_shared
                or a in other.neighbours
                or b in node.neighbours
            ):
                self._link(a, node, b)
                self._link(b, other, a)
        self._groups = [group for group in self._groups if not group <= united] + [united]
        return [id_ for id_ in unshared if id_ not in united]

    def _is_new_link(self, id_: bytes, others: Iterable[bytes]) -> bool:
        neighbours = self.nodes[id_].neighbours
        return any(other != id_ and other not in neighbours for other in others)

    def _link(self, id_: bytes, node: Node, other: bytes) -> None:
        if not node.is_shared and other not in node.neighbours:
            insort(node.neighbours, other)
            self._dirty.add(id_)

    def share(self, id_: bytes) -> None:
        """Mark a node as shared where its neighbours exceed a limit."""
        node = self.nodes[id_]
        if not node.is_shared and self._rules.is_shared(
            node.kind, [self.nodes[other].scope for other in node.neighbours if other in self.nodes]
        ):
            node.is_shared = True
            self._dirty.add(id_)
            self.newly_shared.append(id_)

    def settle(self) -> None:
        """Find the owners of all loaded groups, and write the nodes that changed."""
        active = {id_: self.nodes[id_] for id_ in self._members if not self.nodes[id_].is_shared}
        owners = find_owners(active, self._rules)
        for id_ in self._members:
            node, owner = self.nodes[id_], owners.get(id_, id_)
            if node.owner != owner:
                if self._before[id_].owner is not None:
                    _add_routes(node, (node.owner,))
                node.owner = owner
                self._dirty.add(id_)
        for id_ in self.newly_shared:
            _add_routes(self.nodes[id_], (self._before[id_].owner or id_,))
            self._dirty.add(id_)
        for id_ in self.newly_shared:
            self._extend_routes(id_)
        self._mark_full(active)
        self.write()

    def write(self) -> None:
        """Write the nodes that changed."""
        for id_ in sorted(self._dirty):
            self._rows.put(NODE + id_, self.nodes[id_], encode_row)

    def _extend_routes(self, id_: bytes) -> None:
        """Let the routes that concern a shared node concern its unshared neighbours, which its touchpoints now follow."""
        node = self.nodes[id_]
        for other_id in node.neighbours:
            other = self.nodes.get(other_id)
            if other is not None and not other.is_shared and _add_routes(other, node.routes):
                self._dirty.add(other_id)

    def _mark_full(self, active: dict[bytes, Node]) -> None:
        edges = sum([len(node.neighbours) for node in active.values()]) // 2
        may_be_full = len(active) >= MAX_MEMBERS or edges >= MAX_EDGES
        if not may_be_full and not any(node.is_full for node in active.values()):
            return
        for group in self._groups:
            members = [id_ for id_ in group if id_ in active]
            is_full = len(members) >= MAX_MEMBERS or sum(len(active[id_].neighbours) for id_ in members) // 2 >= MAX_EDGES
            for id_ in members:
                if active[id_].is_full != is_full:
                    active[id_].is_full = is_full
                    self._dirty.add(id_)

    def changed_members(self) -> list[bytes]:
        """Return the nodes whose owner or flags changed, in the order of their ids.

        A node that only decisions named has no kind. It stays unpublished until a touchpoint names it.
        """
        return sorted(
            id_
            for id_ in self._dirty
            if self._is_published(self.nodes[id_])
            and self._before[id_] != (self.nodes[id_].owner, self.nodes[id_].is_shared, self.nodes[id_].is_erased)
        )

    @staticmethod
    def _is_published(node: Node) -> bool:
        return bool(node.kind) or node.is_erased

    def update_routes(self) -> list[tuple[bytes, RouteRow]]:
        """Write the routes that concern the loaded groups, and return those that changed."""
        members = sorted(self._members)
        routes = {customer_id for id_ in members for customer_id in self.nodes[id_].routes}
        changed = []
        for customer_id in sorted(routes):
            route = update_route(self._rows, customer_id, self.nodes, members)
            if route is not None:
                changed.append((customer_id, route))
        return changed

    def largest_cluster(self) -> int:
        """Return the number of nodes of the largest customer in the loaded groups."""
        counts: dict[bytes, int] = {}
        for id_ in self._members:
            owner = self.nodes[id_].owner
            counts[owner] = counts.get(owner, 0) + 1
        return max(counts.values(), default=0)


def _add_routes(node: Node, customer_ids: Sequence[bytes]) -> bool:
    """Let routes concern a node, and return whether they are new. With `MAX_ROUTES`, further ones are left out."""
    return len(node.routes) + len(customer_ids) <= MAX_ROUTES and add_sorted(node.routes, customer_ids)
