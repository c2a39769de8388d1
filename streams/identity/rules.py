"""Rules of the identity map: the rank of each kind, the limits, and which kinds may join customers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from schemas.records.identifiers import GLOBAL_KINDS
from streams.identity.settings import ANONYMOUS_KINDS, LIMITS, PRIORITY, IdentitySettings, parse_kinds, parse_limits

FIRST_WEAK_RANK = 1_000
EXACT, COMPOUND = 1, 2
Scope = tuple[str, str]


class KindRule(NamedTuple):
    """Rule of one kind.

    - `rank`: the smallest is the strongest.
    - `is_weak`: the kind follows a customer and never joins two. Anonymous kinds are weak.
    - `limit`: maximum number of identifiers of this kind per customer and system.
    - `edge_class`: EXACT or COMPOUND; exact links come first.
    """

    rank: int
    is_weak: bool
    limit: int
    edge_class: int


class Rules:
    """Rules of all kinds. `compounds` are the kinds of the compound keys, the strongest first."""

    def __init__(
        self,
        priority: Sequence[str] = parse_kinds(PRIORITY),
        anonymous: Sequence[str] = parse_kinds(ANONYMOUS_KINDS),
        limits: Mapping[str, int] | None = None,
        *,
        compounds: Sequence[str] = (),
        merge_kinds: Sequence[str] = (),
        default_limit: int = 5,
        anonymous_limit: int = 5,
        anonymous_neighbours: int = 100,
    ) -> None:
        self._priority = {kind: rank for rank, kind in enumerate(priority)}
        self._anonymous = {kind: rank for rank, kind in enumerate(anonymous)}
        self._limits = dict(parse_limits(LIMITS) if limits is None else limits)
        self._compounds = {kind: rank for rank, kind in enumerate(compounds)}
        self._merge_kinds = frozenset(merge_kinds)
        self._default_limit = default_limit
        self._anonymous_limit = anonymous_limit
        self.anonymous_neighbours = anonymous_neighbours
        self.of = lru_cache(maxsize=10_000)(self._of)

    @classmethod
    def from_settings(cls, settings: IdentitySettings, compounds: Sequence[str] = ()) -> "Rules":
        """Return the rules that the settings describe."""
        return cls(
            parse_kinds(settings.priority),
            parse_kinds(settings.anonymous_kinds),
            parse_limits(settings.limits),
            compounds=compounds,
            merge_kinds=parse_kinds(settings.merge_kinds),
            default_limit=settings.default_limit,
            anonymous_limit=settings.anonymous_limit,
            anonymous_neighbours=settings.anonymous_neighbours,
        )

    def _of(self, kind: str) -> KindRule:
        limit = self._limits.get(kind, self._default_limit)
        if kind in self._anonymous:
            return KindRule(FIRST_WEAK_RANK * 2 + self._anonymous[kind], True, limit, EXACT)
        known = len(self._priority)
        if kind in self._compounds:
            return KindRule(known + 1 + self._compounds[kind], False, limit, COMPOUND)
        rank = self._priority.get(kind, known)
        is_weak = bool(self._merge_kinds) and kind not in self._merge_kinds
        return KindRule(rank + FIRST_WEAK_RANK * is_weak, is_weak, limit, EXACT)

    def is_anonymous(self, kind: str) -> bool:
        """Return whether identifiers of the kind name no known person."""
        return kind in self._anonymous

    def is_shared(self, kind: str, neighbours: Iterable[Scope]) -> bool:
        """Return whether an identifier that was seen with these neighbours identifies no single customer."""
        counts: dict[Scope, int] = {}
        weak = 0
        own = self.of(kind)
        for scope in neighbours:
            rule = self.of(scope[0])
            if rule.is_weak:
                weak += own.is_weak
                continue
            count = counts[scope] = counts.get(scope, 0) + 1
            if count > (self._anonymous_limit if own.is_weak else rule.limit):
                return True
        return weak > self.anonymous_neighbours


def scope_of(kind: str, value: str) -> Scope:
    """Return the kind and the system that issued the identifier. Limits count each scope on its own."""
    return (kind, "") if kind in GLOBAL_KINDS else (kind, value.partition("/")[0])
