"""Sets of keys small enough for a cursor. A deleted row leaves no other trace than its missing key.

Integers are stored as ranges: a table of millions of rows costs a few bytes for each gap. Other keys are stored one by one. Pure.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

from connectors.contract import Cursor

Ranges = list[list[int]]
"""[first, last] of each range of integers, ascending."""
MAX_PACKED_BYTES = 48_000


class KeySet:
    """A set of keys, with integers as ranges."""

    def __init__(self, ranges: Ranges, others: set[str]) -> None:
        self.ranges = ranges
        self.others = others

    def is_empty(self) -> bool:
        """Return whether the set has no key."""
        return not self.ranges and not self.others

    def pack(self) -> str | None:
        """Return the set as text for a cursor, or None if it is too large for one."""
        bounds = [0, *(bound for each in self.ranges for bound in each)]
        steps = [number - before for before, number in pairwise(bounds)]
        text = b64encode(zlib.compress(json.dumps([steps, sorted(self.others)]).encode(), 9)).decode()
        return text if len(text) <= MAX_PACKED_BYTES else None

    def difference(self, other: "KeySet") -> Iterator[Any]:
        """Yield the keys that the other set lacks, in order, integers first."""
        yield from _subtract(self.ranges, other.ranges)
        yield from sorted(self.others - other.others)

    def remove(self, keys: Iterable[Any]) -> "KeySet":
        """Return the set without these keys."""
        return build_key_set(self.difference(build_key_set(keys)))


def build_key_set(keys: Iterable[Any]) -> KeySet:
    """Return the set of these keys; integers must be ascending."""
    ranges: Ranges = []
    others = set()
    for key in keys:
        if not isinstance(key, int):
            others.add(str(key))
        elif ranges and key == ranges[-1][1] + 1:
            ranges[-1][1] = key
        else:
            ranges.append([key, key])
    return KeySet(ranges, others)


def find_missing_keys(present: KeySet, cursor: Cursor | None, now: str, size: int) -> Iterator[tuple[list[Any], Cursor | None]]:
    """Yield pages of keys that the cursor holds and the source lacks, at most `size` keys each, with the cursor after the page.

    The last page is empty and its cursor holds the present keys. Cursors are {at, keys}; None if the keys are too many for one.
    """
    before = unpack_key_set(cursor["keys"]) if cursor else present
    missing = before.difference(present)
    while cursor and (page := list(islice(missing, size))):
        before = before.remove(page)
        yield page, _cursor(cursor["at"], before)
    yield [], _cursor(now, present)


def _cursor(at: str, keys: KeySet) -> Cursor | None:
    packed = keys.pack()
    return None if packed is None else {"at": at, "keys": packed}


def unpack_key_set(text: str) -> KeySet:
    """Return the set that `pack` turned into text."""
    steps, others = json.loads(zlib.decompress(b64decode(text)))
    bounds, at = [], 0
    for step in steps:
        at += step
        bounds.append(at)
    return KeySet([list(pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)], set(others))


def _subtract(these: Ranges, those: Ranges) -> Iterator[int]:
    rest = iter([*those])
    other = next(rest, None)
    for first, last in these:
        at = first
        while at <= last:
            while other and other[1] < at:
                other = next(rest, None)
            if other and other[0] <= at:
                at = other[1] + 1
                continue
            end = min(last, other[0] - 1) if other else last
            yield from range(at, end + 1)
            at = end + 1
