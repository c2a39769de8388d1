"""Keyset pagination of a timed stream: pages in the order of (time, key).

Each page begins after the last item of the page before, so new items never shift a page. The key separates items of equal time.
The round after a complete one begins `lookback` earlier, because the source may show items late.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from connectors.contract import Batch, Cursor, Record, RejectedRecord, Window
from connectors.mapping.record_mapping import RecordMapping
from schemas.errors import ConfigError

Position = tuple[datetime | None, str]
FetchPage = Callable[[datetime | None, str], list[dict[str, Any]]]


def paginate(
    fetch_page: FetchPage,
    mapping: RecordMapping,
    now: Callable[[], datetime],
    size: int,
    cursor: Cursor | None,
    window: Window,
) -> Iterator[Batch]:
    """Yield the batches of a stream after `cursor` within `window`. Cursor: {at, key, done}.

    `fetch_page(at, key)` returns at most `size` items in the order of time and key, from the first item after (at, key) on.
    `now` returns the source's time; items of the future wait for a later round. Raises ConfigError if a page is not in that
    order, or if it has no item to continue from.
    """
    at, key = _first_position(cursor, mapping.spec.lookback, window)
    has_more = True
    while has_more:
        items = fetch_page(at, key)
        end = min(now(), window.end) if window.end else now()
        records = _drop_future(mapping.create_records(items, now()), end)
        has_more = len(records) == len(items) == size
        before = at, key
        at, key = _last_position(records, before)
        if has_more and (at, key) == before:
            raise ConfigError("no item of a page has a later (time, key): check `key`, `version` and `time` of the mapping")
        progress = window.progress_at(at, end) if at and has_more else 1.0
        yield Batch(records, {"at": at and at.isoformat(), "key": key, "done": not has_more}, progress=progress)


def _drop_future(records: list[Record | RejectedRecord], end: datetime) -> list[Record | RejectedRecord]:
    """Return the records before the first one at or after `end`."""
    return list(takewhile(lambda one: isinstance(one, RejectedRecord) or (one.time is not None and one.time < end), records))


def _last_position(records: list[Record | RejectedRecord], position: Position) -> Position:
    """Return the position of the last record that has a time. Raises ConfigError if the records are not in the order of time."""
    for record in records:
        if isinstance(record, Record) and record.time:
            if position[0] and record.time < position[0]:
                raise ConfigError("the source does not send its items in the order of the mapping's `time`")
            position = record.time, record.key
    return position


def _first_position(cursor: Cursor | None, lookback: timedelta, window: Window) -> Position:
    if cursor is None or cursor["at"] is None:
        return window.start, ""
    at = datetime.fromisoformat(cursor["at"])
    if not cursor["done"]:
        return at, cursor["key"]
    late = at - lookback
    return max(late, window.start) if window.start else late, ""
