"""The keys of a table, small enough to be kept with a cursor: which of them are gone is all that a deleted row leaves.

Integers are kept as ranges, so that a table of millions costs a few bytes for each gap; other keys one by one. Pure.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

from connectors.contract import Cursor

Ranges = list[list[int]]
"""[first, last] of each run of integers, ascending."""
MAX_PACKED_BYTES = 48_000


class KeySet:
    """A set of keys, integers as ranges."""

    def __init__(self, ranges: Ranges, others: set[str]) -> None:
        self.ranges = ranges
        self.others = others

    def is_empty(self) -> bool:
        """Whether there is no key."""
        return not self.ranges and not self.others

    def pack(self) -> str | None:
        """As text for a cursor; None where they are too many for one."""
        steps = [number - before for before, number in pairwise([0, *(bound for found in self.ranges for bound in found)])]
        text = b64encode(zlib.compress(json.dumps([steps, sorted(self.others)]).encode(), 9)).decode()
        return text if len(text) <= MAX_PACKED_BYTES else None

    def difference(self, other: "KeySet") -> Iterator[Any]:
        """The keys that the other set lacks, integers first, in order."""
        yield from _missing(self.ranges, other.ranges)
        yield from sorted(self.others - other.others)

    def remove(self, some: Iterable[Any]) -> "KeySet":
        """The set without these keys."""
        return build_key_set(self.difference(build_key_set(some)))


def build_key_set(keys: Iterable[Any]) -> KeySet:
    """The set of these keys, integers ascending."""
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


def find_missing_keys(there: KeySet, cursor: Cursor | None, now: str, size: int) -> Iterator[tuple[list[Any], Cursor | None]]:
    """The keys that were there at the cursor and are no more, at most `size` at a time, each page with the cursor after it.

    The last page is empty, and its cursor is that of now. Cursors are {at, keys}; None where the keys are too many for one.
    """
    before = unpack_key_set(cursor["keys"]) if cursor else there
    missing = before.difference(there)
    while cursor and (some := list(islice(missing, size))):
        before = before.remove(some)
        yield some, _cursor(cursor["at"], before)
    yield [], _cursor(now, there)


def _cursor(at: str, keys: KeySet) -> Cursor | None:
    packed = keys.pack()
    return None if packed is None else {"at": at, "keys": packed}


def unpack_key_set(text: str) -> KeySet:
    """The set that was packed."""
    steps, others = json.loads(zlib.decompress(b64decode(text)))
    bounds, at = [], 0
    for step in steps:
        at += step
        bounds.append(at)
    return KeySet([list(pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)], set(others))


def _missing(these: Ranges, those: Ranges) -> Iterator[int]:
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
