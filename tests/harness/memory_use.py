"""Number of objects in memory while a source is read."""

import gc
from collections.abc import Iterator

from connectors.contract import Batch


def max_live_objects(batches: Iterator[Batch], kind: type, count: int) -> int:
    """Return the largest number of additional objects of a type after each of the first `count` batches."""
    before, largest = _live_objects(kind), 0
    for _ in range(count):
        next(batches)
        largest = max(largest, _live_objects(kind) - before)
    return largest


def _live_objects(kind: type) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())
