"""The customers that the identity map must find: identifiers united in plain Python. No order of arrival, no rows, no groups.

1. An identifier that was seen with too many others is shared and unites nothing.
2. All others unite: joins by hand, then the evidence, the strongest kinds first. A limit or a split may refuse a union.
3. An anonymous identifier follows the only customer next to it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from schemas.records.identifiers import identifier_id
from schemas.records.identity import Action

Identifier = tuple[str, str]
KINDS = ("erp_party", "email", "phone", "device")
ANONYMOUS = "device"
LIMITS = {"erp_party": 1, "email": 5, "phone": 5}
ANONYMOUS_LIMIT = 5


class Decision(NamedTuple):
    """A split or a join of identifiers that is in force."""

    action: Action
    left: tuple[Identifier, ...]
    right: tuple[Identifier, ...]


class People:
    """The owner of each identifier, and the customer of each touchpoint."""

    def __init__(self, touchpoints: Mapping[bytes, Sequence[Identifier]], decisions: Iterable[Decision], secret: bytes) -> None:
        """`touchpoints` holds the identifiers of each event id."""
        names = {name for each in touchpoints.values() for name in each}
        self._ids = {name: identifier_id(secret, *name) for name in names}
        self._neighbours: defaultdict[Identifier, set[Identifier]] = defaultdict(set)
        for each in touchpoints.values():
            for one, other in combinations(each, 2):
                self._neighbours[one].add(other)
                self._neighbours[other].add(one)
        self._shared = {name for name in names if self._is_shared(name)}
        self._clusters = {name: frozenset([name]) for name in names}
        known = [each for each in decisions if names.issuperset((*each.left, *each.right))]
        self._splits = [each for each in known if each.action is Action.SPLIT]
        self._unite_all([each for each in known if each.action is Action.JOIN])
        self.owners = {name: self._ids[self._sort(cluster)[0]] for name, cluster in self._clusters.items()}
        self._touchpoints = touchpoints

    def find_customers(self) -> dict[bytes, set[bytes]]:
        """Return the event ids of each customer. A touchpoint follows its strongest identifier that is not shared."""
        customers: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for event_id, names in self._touchpoints.items():
            ranked = self._sort(names)
            strongest = next((name for name in ranked if name not in self._shared), ranked[0])
            customers[self.owners[strongest]].add(event_id)
        return dict(customers)

    def _sort(self, names: Iterable[Identifier]) -> list[Identifier]:
        """Return identifiers by strength: by kind, then the greatest id first."""
        return sorted(sorted(names, key=self._ids.__getitem__, reverse=True), key=lambda name: KINDS.index(name[0]))

    def _is_shared(self, name: Identifier) -> bool:
        counts = Counter(kind for kind, _ in self._neighbours[name] if kind != ANONYMOUS)
        return any(count > (ANONYMOUS_LIMIT if name[0] == ANONYMOUS else LIMITS[kind]) for kind, count in counts.items())

    def _unite_all(self, joins: Iterable[Decision]) -> None:
        for join in joins:
            for other in (*join.left[1:], *join.right):
                self._unite(join.left[0], other, has_limits=False)
        alone = self._clusters.keys() - self._shared
        pairs = {frozenset((name, other)) for name in alone for other in self._neighbours[name] & alone}
        known = [self._sort(pair) for pair in pairs if all(kind != ANONYMOUS for kind, _ in pair)]
        for one, other in sorted(known, key=self._rank_pair):
            self._unite(one, other, has_limits=True)
        for name in sorted(each for each in alone if each[0] == ANONYMOUS):
            around = {self._clusters[other] for other in self._neighbours[name] & alone}
            if len(around) == 1:
                self._unite(name, next(iter(around.pop())), has_limits=False)

    def _rank_pair(self, pair: Sequence[Identifier]) -> tuple[int, int, list[bytes]]:
        first, second = (KINDS.index(kind) for kind, _ in pair)
        return first, second, sorted(self._ids[name] for name in pair)

    def _unite(self, one: Identifier, other: Identifier, *, has_limits: bool) -> None:
        first, second = self._clusters[one], self._clusters[other]
        union = first | second
        if any(not union.isdisjoint(split.left) and not union.isdisjoint(split.right) for split in self._splits):
            return
        if has_limits and first != second and any(self._count(kind, first, second) > limit for kind, limit in LIMITS.items()):
            return
        for name in union:
            self._clusters[name] = union

    @staticmethod
    def _count(kind: str, *clusters: frozenset[Identifier]) -> int:
        """Return the identifiers of a kind that both clusters would bring into one; 0 where only one of them has any."""
        counts = [sum(each == kind for each, _ in cluster) for cluster in clusters]
        return sum(counts) if all(counts) else 0
