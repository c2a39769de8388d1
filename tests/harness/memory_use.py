"""How much of a source is in memory while it is read."""

import gc
from collections.abc import Iterator

from connectors.contract import Batch


def most_alive(batches: Iterator[Batch], kind: type, count: int) -> int:
    """How many objects of a kind are there beside those there were before, at most, after each of the first `count` batches."""
    before, most = _alive(kind), 0
    for _ in range(count):
        next(batches)
        most = max(most, _alive(kind) - before)
    return most


def _alive(kind: type) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())
