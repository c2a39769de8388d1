"""Walks a timed stream page by page, forward by (time, key): the part of reading that every such source shares.

Keyset paging: each page begins after the last item seen, so nothing shifts under it; items of equal time are told apart by
their key. A finished walk is begun again `lookback` earlier, for what the source shows late.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from connectors.contract import Batch, Cursor, Record, Window
from connectors.items import Items
from schemas.errors import ConfigError

Page = Callable[[datetime | None, str], list[dict[str, Any]]]


def walk(
    page: Page, items: Items, now: Callable[[], datetime], size: int, cursor: Cursor | None, window: Window
) -> Iterator[Batch]:
    """Batches of the stream after `cursor` within `window`. Cursor: {at, key, done}.

    `page(at, key)` asks for at most `size` items in the order of time and key, of which the first one's (time, key) is greater
    than (at, key); `now` is the source's clock. Items of the future wait for a later walk. Raises ConfigError where no item of
    a page can be told its place.
    """
    at, key = _begin(cursor, items.spec.lookback, window)
    more = True
    while more:
        found = page(at, key)
        end = min(now(), window.end) if window.end else now()
        records, settled = [], True
        for record in items.records(found, now()):
            if isinstance(record, Record) and (record.time is None or record.time >= end):
                settled = False
                break
            records.append(record)
        more = settled and len(found) == size
        known = [record for record in records if isinstance(record, Record)]
        if more and not known:
            raise ConfigError("none of a page's items has the fields that the mapping's key, version and time read: mend it")
        if known:
            last = known[-1]
            assert last.time is not None
            at, key = last.time, last.key
        share = window.share(at, end) if at and more else 1.0
        yield Batch(records, {"at": at and at.isoformat(), "key": key, "done": not more}, share=share)


def _begin(cursor: Cursor | None, lookback: timedelta, window: Window) -> tuple[datetime | None, str]:
    if cursor is None or cursor["at"] is None:
        return window.start, ""
    at = datetime.fromisoformat(cursor["at"])
    if not cursor["done"]:
        return at, cursor["key"]
    late = at - lookback
    return max(late, window.start) if window.start else late, ""
