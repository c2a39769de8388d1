"""Walks a timed stream page by page, forward by (time, key): the part of reading that every such source shares.

Keyset paging: each page begins after the last item seen, so nothing shifts under it; items of equal time are told apart by
their key. A finished walk is begun again `lookback` earlier, for what the source shows late.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from connectors.contract import Batch, Cursor, Record, RejectedRecord, Window
from connectors.mapping.record_mapping import RecordMapping
from schemas.errors import ConfigError

Place = tuple[datetime | None, str]
Page = Callable[[datetime | None, str], list[dict[str, Any]]]


def paginate(
    page: Page, items: RecordMapping, now: Callable[[], datetime], size: int, cursor: Cursor | None, window: Window
) -> Iterator[Batch]:
    """Batches of the stream after `cursor` within `window`. Cursor: {at, key, done}.

    `page(at, key)` asks for at most `size` items in the order of time and key, of which the first one's (time, key) is greater
    than (at, key); `now` is the source's clock. Future items wait for a later round. Raises ConfigError where a page
    is not in that order, or gives no place to go on.
    """
    at, key = _begin(cursor, items.spec.lookback, window)
    more = True
    while more:
        found = page(at, key)
        end = min(now(), window.end) if window.end else now()
        records = _settled(items.create_records(found, now()), end)
        more = len(records) == len(found) == size
        before = at, key
        at, key = _last(records, before)
        if more and (at, key) == before:
            raise ConfigError("a page gives no place to go on: do the mapping's key, version and time fit the source?")
        progress = window.progress_at(at, end) if at and more else 1.0
        yield Batch(records, {"at": at and at.isoformat(), "key": key, "done": not more}, progress=progress)


def _settled(records: list[Record | RejectedRecord], end: datetime) -> list[Record | RejectedRecord]:
    """The records before the first one whose time has not come."""
    return list(takewhile(lambda one: isinstance(one, RejectedRecord) or (one.time is not None and one.time < end), records))


def _last(records: list[Record | RejectedRecord], place: Place) -> Place:
    """The place of the last record that has one. Raises ConfigError where they do not come in the order of time."""
    for record in records:
        if isinstance(record, Record) and record.time:
            if place[0] and record.time < place[0]:
                raise ConfigError("the source does not send its items in the order of the mapping's `time`")
            place = record.time, record.key
    return place


def _begin(cursor: Cursor | None, lookback: timedelta, window: Window) -> Place:
    if cursor is None or cursor["at"] is None:
        return window.start, ""
    at = datetime.fromisoformat(cursor["at"])
    if not cursor["done"]:
        return at, cursor["key"]
    late = at - lookback
    return max(late, window.start) if window.start else late, ""
