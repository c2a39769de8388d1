"""Clusters: the customers of a group of nodes, as a pure function of their evidence.

1. Shared nodes are no part of it: the caller passes unshared nodes only. Erased nodes count like all others.
2. Strong nodes unite over their edges in a fixed order: joins by hand, exact links by rank, links by compound keys, reviews. A
   union that exceeds the limit of a kind, or brings both sides of a split together, is refused. A join may exceed a limit.
3. A component of weak (anonymous) nodes follows the one customer next to it. With several customers next to it, each weak node
   follows the customer of its own neighbours if there is one only, and otherwise stays alone.
4. The customer id is the node with the best rank; of several, the greatest.

The order of arrival leaves no trace, because edges are sorted by their nodes.
"""

from collections.abc import Iterable, Iterator, Mapping

from streams.identity.rows import Node
from streams.identity.rules import COMPOUND, KindRule, Rules, Scope

JOIN, REVIEW = 0, 3
Edge = tuple[int, int, int, bytes, bytes]
Nodes = Mapping[bytes, Node]


def find_owners(nodes: Nodes, rules: Rules) -> dict[bytes, bytes]:
    """Return the customer id of each node. Neighbours outside of `nodes` are ignored."""
    owner = _find_only_owner(nodes, rules)
    return _Clustering(nodes, rules).owners() if owner is None else dict.fromkeys(nodes, owner)


def _find_only_owner(nodes: Nodes, rules: Rules) -> bytes | None:
    """Return the customer id if all nodes certainly belong to one customer: the usual case.

    They do if no decision concerns them, no limit is exceeded, the strong nodes are connected, and the weak ones with them.
    """
    counts: dict[Scope, int] = {}
    best: tuple[int, bytes] | None = None
    strong, weak = set(), set()
    for id_, node in nodes.items():
        rule = rules.of(node.kind)
        if node.splits or node.joins:
            return None
        if rule.is_weak:
            weak.add(id_)
            continue
        strong.add(id_)
        scope = node.scope
        count = counts[scope] = counts.get(scope, 0) + 1
        if count > rule.limit:
            return None
        if best is None or (-rule.rank, id_) > best:
            best = -rule.rank, id_
    if best is None or not _is_connected(nodes, best[1], strong) or (weak and not _is_connected(nodes, best[1], strong | weak)):
        return None
    return best[1]


def _is_connected(nodes: Nodes, start: bytes, members: set[bytes]) -> bool:
    """Return whether all members are connected over edges between members."""
    found, waiting = {start}, [start]
    while waiting:
        for other in nodes[waiting.pop()].neighbours:
            if other in members and other not in found:
                found.add(other)
                waiting.append(other)
    return len(found) == len(members)


class _Clustering:
    def __init__(self, nodes: Nodes, rules: Rules) -> None:
        self._nodes = nodes
        self._rules = {id_: rules.of(node.kind) for id_, node in nodes.items()}
        self._parent = {id_: id_ for id_ in nodes}
        self._counts: dict[bytes, dict[Scope, int]] = {
            id_: {node.scope: 1} for id_, node in nodes.items() if not self._rules[id_].is_weak
        }
        self._limits = {node.scope: self._rules[id_].limit for id_, node in nodes.items()}
        self._sides: dict[bytes, set[tuple[bytes, int]]] = {id_: set(node.splits) for id_, node in nodes.items() if node.splits}

    def owners(self) -> dict[bytes, bytes]:
        for edge_class, _, _, a, b in sorted(self._strong_edges()):
            self._unite(a, b, has_limits=edge_class != JOIN)
        weak = [id_ for id_, rule in self._rules.items() if rule.is_weak]
        if weak:
            self._attach(sorted(weak))
        return self._name()

    def _strong_edges(self) -> Iterator[Edge]:
        """Yield each edge of step 2 with its sort key. An edge that only one of its nodes records counts as well."""
        for id_, node in self._nodes.items():
            rule = self._rules[id_]
            for _, other, is_review in node.joins:
                if other in self._nodes:
                    yield REVIEW if is_review else JOIN, 0, 0, min(id_, other), max(id_, other)
            if not rule.is_weak:
                for other in node.neighbours:
                    other_rule = self._rules.get(other)
                    if other_rule is not None and not other_rule.is_weak:
                        yield _sort_key(rule, other_rule, id_, other)

    def _find(self, id_: bytes) -> bytes:
        parent = self._parent
        while (above := parent[id_]) != id_:
            parent[id_] = id_ = parent[above]
        return id_

    def _unite(self, a: bytes, b: bytes, *, has_limits: bool) -> None:
        a, b = self._find(a), self._find(b)
        if a == b or self._are_apart(a, b):
            return
        counts, other_counts = self._counts.get(a, {}), self._counts.get(b, {})
        if has_limits and any(
            counts[scope] + other_counts[scope] > self._limits[scope] for scope in counts.keys() & other_counts
        ):
            return
        self._parent[b] = a
        self._counts[a] = {scope: counts.get(scope, 0) + other_counts.get(scope, 0) for scope in counts.keys() | other_counts}
        if b in self._sides:
            self._sides[a] = self._sides.get(a, set()) | self._sides[b]

    def _are_apart(self, a: bytes, b: bytes) -> bool:
        """Return whether a split keeps two clusters apart."""
        sides, others = self._sides.get(a), self._sides.get(b)
        return sides is not None and others is not None and any((split, 1 - side) in others for split, side in sides)

    def _attach(self, weak: list[bytes]) -> None:
        """Attach weak nodes (step 3). The components of weak nodes are found apart from the clusters that they attach to."""
        strong = {id_: self._find(id_) for id_, rule in self._rules.items() if not rule.is_weak}
        roots = set(strong.values())
        for component in self._weak_components(weak):
            adjacent = {id_: self._adjacent(id_, strong, roots) for id_ in component}
            all_adjacent = set().union(*adjacent.values())
            target = next(iter(all_adjacent)) if len(all_adjacent) == 1 else None
            if target is None and not all_adjacent:
                for id_ in component[1:]:
                    self._unite(component[0], id_, has_limits=False)
                continue
            for id_ in component:
                own = target or (next(iter(adjacent[id_])) if len(adjacent[id_]) == 1 else None)
                if own is not None and self._find(id_) not in roots:
                    self._unite(own, id_, has_limits=False)

    def _adjacent(self, id_: bytes, strong: dict[bytes, bytes], roots: set[bytes]) -> set[bytes]:
        own = self._find(id_)
        if own in roots:  # joined by hand
            return {own}
        return {strong[other] for other in self._nodes[id_].neighbours if other in strong}

    def _weak_components(self, weak: list[bytes]) -> Iterable[list[bytes]]:
        """Return the components of weak nodes, each sorted. A split between two weak nodes keeps their components apart."""
        parts = _Components(self._nodes)
        members = set(weak)
        for id_ in weak:
            for other in self._nodes[id_].neighbours:
                if other in members and other > id_:
                    parts.unite(id_, other)
            for _, other, _ in self._nodes[id_].joins:
                if other in members:
                    parts.unite(id_, other)
        found: dict[bytes, list[bytes]] = {}
        for id_ in weak:
            found.setdefault(parts.find(id_), []).append(id_)
        return found.values()

    def _name(self) -> dict[bytes, bytes]:
        roots = {id_: self._find(id_) for id_ in self._nodes}
        best: dict[bytes, tuple[int, bytes]] = {}
        for id_, root in roots.items():
            key = (-self._rules[id_].rank, id_)
            if root not in best or key > best[root]:
                best[root] = key
        return {id_: best[root][1] for id_, root in roots.items()}


class _Components:
    """Disjoint sets of weak nodes, in which splits keep their two sides apart."""

    def __init__(self, nodes: Nodes) -> None:
        self._parent: dict[bytes, bytes] = {}
        self._sides = {id_: set(node.splits) for id_, node in nodes.items() if node.splits}

    def find(self, id_: bytes) -> bytes:
        while (above := self._parent.get(id_, id_)) != id_:
            id_ = above
        return id_

    def unite(self, a: bytes, b: bytes) -> None:
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        sides, others = self._sides.get(a, set()), self._sides.get(b, set())
        if not any((split, 1 - side) in others for split, side in sides):
            self._parent[b] = a
            if sides or others:
                self._sides[a] = sides | others


def _sort_key(rule: KindRule, other_rule: KindRule, id_: bytes, other: bytes) -> Edge:
    first, second = (rule.rank, other_rule.rank) if rule.rank <= other_rule.rank else (other_rule.rank, rule.rank)
    edge_class = max(rule.edge_class, other_rule.edge_class)
    if edge_class == COMPOUND:
        first, second = second, first
    return edge_class, first, second, min(id_, other), max(id_, other)
