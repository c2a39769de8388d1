"""Rebuild of the customers of a scope, in the order of their ids: first the large ones, then all others.

The order of the steps is the guarantee: a customer up to the cursor is on Kafka, and a crash repeats customers but skips none.

1. List the large customers of the scope, and cut the ids of all others into ranges.
2. Per customer: read its touchpoints in event-time order, and publish them as the parts of a `history` record. A query reads one
   large customer or one range.
3. After each 4 MiB, and after the last customer: wait for every acknowledgement.
4. Save the cursor: the last customer whose parts are all acknowledged.
5. After the last customer, wait until the workers have read the last `history` record of each partition.
6. Publish again the customers that have more touchpoints than a state row keeps, and got some since step 1. A touchpoint that
   arrived after its customer was read, and is older than the kept ones, would be missing otherwise.
7. Publish again the customers that are still incomplete, at most three times. A part may be a dead letter, or a route may have
   changed between two parts.

A row keeps its newest touchpoints during a rebuild. It loses some only if it gets more than it keeps between the query and the
`history` record. Large customers have at least half of this number. A query of their own makes this time short.
A repeated history gives the same rows. Live records of a customer may arrive between two parts: the worker folds them, too.
A customer whose parts were interrupted by a crash stays incomplete until the rebuild is resumed.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from deploy.rebuild.cursor import Cursor
from deploy.rebuild.history import cut_parts, pack_touchpoint
from deploy.rebuild.publisher import HistoryPublisher
from deploy.rebuild.queries import HistoryReader, StoredTouchpoint
from deploy.rebuild.scope import Work, count_all, cut_ranges
from schemas.errors import RecordError

LAST_LARGE, LAST_CUSTOMER = "last_large", "last_customer"
MAX_REPETITIONS = 3
Save = Callable[[Cursor], None]
Advance = Callable[[int], None]


class Hooks(NamedTuple):
    """Effects of a rebuild: save the cursor, show progress in touchpoints, and ask whether to stop."""

    save: Save
    advance: Advance
    should_stop: Callable[[], bool]


def repeat_incomplete(find: Callable[[], Work], repeat: Callable[[Work], None]) -> int:
    """Do step 7, and return the number of customers that are still incomplete. `find` returns the incomplete ones."""
    for _ in range(MAX_REPETITIONS):
        work = find()
        if not count_all(work).customers:
            return 0
        repeat(work)
    return count_all(find()).customers


class Result(NamedTuple):
    """End of a rebuild: its cursor, whether all customers are done, and the number of touchpoints without a usable record."""

    cursor: Cursor
    is_complete: bool
    unreadable: int


class Rebuild:
    """Steps 2 to 4 for the customers that a reader finds."""

    def __init__(self, reader: HistoryReader, publisher: HistoryPublisher, hooks: Hooks, *, keep_existing: bool = True) -> None:
        self._reader = reader
        self._publisher = publisher
        self._hooks = hooks
        self._keep_existing = keep_existing
        self._unreadable = 0

    def run(self, work: Work, cursor: Cursor) -> Result:
        """Publish all customers after the cursor. A stop request ends the run behind the customer in progress."""
        for position, customer_id, stored in self._read(work):
            if self._hooks.should_stop():
                return Result(self._save(cursor), is_complete=False, unreadable=self._unreadable)
            cursor = self._publish(customer_id, stored, cursor, position)
        return Result(self._save(cursor), is_complete=True, unreadable=self._unreadable)

    def _read(self, work: Work) -> Iterator[tuple[str, bytes, Iterator[StoredTouchpoint]]]:
        """Yield the field of the cursor, the customer and its touchpoints. The query of a customer begins with its first row."""
        for large in work.large:
            yield LAST_LARGE, large.customer_id, self._reader.touchpoints_of(large.customer_id)
        for within in cut_ranges(work.buckets):
            for customer_id, stored in groupby(self._reader.touchpoints(within), attrgetter("customer_id")):
                yield LAST_CUSTOMER, customer_id, stored

    def _publish(self, customer_id: bytes, stored: Iterator[StoredTouchpoint], cursor: Cursor, position: str) -> Cursor:
        parts = cut_parts(customer_id, self._pack(stored), keep_existing=self._keep_existing)
        touchpoints = self._publisher.publish(customer_id, parts)
        self._hooks.advance(touchpoints)
        done = {
            position: customer_id.hex(),
            "customers": cursor.customers + 1,
            "touchpoints": cursor.touchpoints + touchpoints,
        }
        cursor = cursor.model_copy(update=done)
        return self._save(cursor) if self._publisher.is_flush_due else cursor

    def _pack(self, stored: Iterator[StoredTouchpoint]) -> Iterator[bytes]:
        for each in stored:
            try:
                yield pack_touchpoint(each.record, each.identifiers)
            except RecordError:
                self._unreadable += 1

    def _save(self, cursor: Cursor) -> Cursor:
        """Do steps 3 and 4."""
        self._publisher.flush()
        cursor = cursor.model_copy(update={"ends": {**cursor.ends, **self._publisher.ends}})
        self._hooks.save(cursor)
        return cursor
