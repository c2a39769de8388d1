"""Pairwise measures: of all pairs of touchpoints, which are joined, and which are of one person."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from tests.quality.labelled import Labelled


class Score(NamedTuple):
    """Numbers of pairs: all, of one person, in one customer, and both."""

    all: int
    true: int
    linked: int
    correct: int

    @property
    def precision(self) -> float:
        return self.correct / self.linked if self.linked else 1.0

    @property
    def recall(self) -> float:
        return self.correct / self.true if self.true else 1.0

    @property
    def false_share(self) -> float:
        """Pairs of two people in one customer, as a share of all pairs of two people."""
        return (self.linked - self.correct) / (self.all - self.true)

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.true + self.linked) if self.true + self.linked else 1.0


def score(labelled: Sequence[Labelled], customers: Mapping[bytes, Hashable]) -> Score:
    """Return the numbers of pairs. `customers` holds the customer of each event id."""
    people = [each.person for each in labelled]
    found = [customers[each.event_id] for each in labelled]
    return Score(
        len(people) * (len(people) - 1) // 2,
        _count_pairs(people),
        _count_pairs(found),
        _count_pairs(zip(people, found, strict=True)),
    )


def _count_pairs(labels: Iterable[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(labels).values())


class Confusion(NamedTuple):
    """Pairs of one kind of case.

    - `judged`: pairs of different people within one case. `false`: those in one customer.
    - `same`: pairs of one person within one case. `missed`: those in two customers.
    """

    touchpoints: int
    judged: int
    false: int
    same: int
    missed: int


def total(kinds: Iterable[Confusion]) -> Confusion:
    """Return the sum over several kinds."""
    return Confusion(*map(sum, zip((0,) * 5, *kinds, strict=True)))


def confuse(labelled: Sequence[Labelled], customers: Mapping[bytes, Hashable]) -> dict[str, Confusion]:
    """Return the confusion of each kind, in the order of the kinds."""
    cases: defaultdict[tuple[str, str], list[Labelled]] = defaultdict(list)
    for each in labelled:
        cases[each.kind, each.case].append(each)
    found: dict[str, Confusion] = {}
    for (kind, _), members in cases.items():
        counts = Counter(
            (a.person == b.person, customers[a.event_id] == customers[b.event_id]) for a, b in combinations(members, 2)
        )
        one = Confusion(
            len(members),
            counts[False, False] + counts[False, True],
            counts[False, True],
            counts[True, False] + counts[True, True],
            counts[True, False],
        )
        found[kind] = total([found[kind], one]) if kind in found else one
    return found


def count_strays(labelled: Sequence[Labelled], customers: Mapping[bytes, Hashable]) -> int:
    """Return the number of pairs of different cases in one customer."""
    found = [customers[each.event_id] for each in labelled]
    cases = [(each.kind, each.case) for each in labelled]
    return _count_pairs(found) - _count_pairs(zip(cases, found, strict=True))
