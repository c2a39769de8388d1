"""Mastodon: the posts that mention an account, and those of hashtags, walked forward by `min_id`.

Guarantee: at least once, exact by event id. Edits and deletes: each round walks the last hours again; a post with a new time of
edit is another event, and one that is missing is asked for by its id before it counts as deleted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, RejectedRecord, StreamSpec, Window
from connectors.http.client import Client
from connectors.http.http_connector import HttpConnector
from connectors.mapping.record_mapping import RecordMapping
from connectors.mastodon.feed import Feed, Found, Mentions, Tagged, oldest_first, placed_at
from connectors.mastodon.settings import MastodonSettings
from connectors.mastodon.watch import Post, Watched
from connectors.settings import secret_variable
from schemas.errors import ConfigError
from schemas.records.fields import instant
from schemas.records.touchpoint import Touchpoint

FIX = "set {} to an access token with the scopes read:statuses and read:notifications"
MOST_IDS = 20
BEGINNING: Cursor = {"after": 0, "done": False, "watched": {}, "gone": {}}


class Connector(HttpConnector):
    """One account of one server. Streams: `mentions`, and `tags:<tag>` each.

    Cursor: {after, done, watched, gone}: the place in the stream, whether the last walk came to its end, the posts to look at
    again (`watch.py`), and those found deleted that are not published yet: id to author, time, and when it was found.
    """

    settings_model: ClassVar[type[BaseModel]] = MastodonSettings

    def __init__(self, settings: MastodonSettings) -> None:
        fix = FIX.format(secret_variable(settings.name, "token"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        own = {"system": settings.system, "late_seconds": settings.watch_hours * 3_600}
        self._posts = RecordMapping(settings.name, "statuses", self.mappings["statuses"].mapping.model_copy(update=own))
        feeds: list[Feed] = [*([Mentions()] if settings.mentions else []), *(Tagged(tag) for tag in settings.tags)]
        self._feeds = {feed.stream: feed for feed in feeds}

    def login(self, client: Client) -> dict[str, str]:
        """The token, which does not expire."""
        return {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"}

    def check(self) -> str:
        """Asks each stream for its newest post. Raises ConfigError with what to change."""
        for feed in self._feeds.values():
            self._page(feed, limit=1)
        return f"may read {', '.join(self._feeds)} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """`mentions`, then the tags in the order of the settings."""
        return list(self._feeds)

    def describe_stream(self, stream: str) -> StreamSpec:
        """The same for all: they hold the same kind of post, and one may be in several."""
        return replace(self._posts.spec, shared=True)

    def map_record(self, record: Record) -> Touchpoint:
        """The post mapped: the same event in whatever stream it was found."""
        return self._posts.map_record(record)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """First the deletes that are owed, then the posts after the cursor, oldest first, then what has gone meanwhile."""
        feed, place, lookback = self._feeds[stream], dict(cursor or BEGINNING), self._posts.spec.lookback
        if place["gone"]:
            yield self._deletes(place)
        watched, seen = Watched(place["watched"], lookback), set[int]()
        begin = feed.again(place["after"], watched, lookback) if place["done"] else place["after"]
        begin = after = max(begin, feed.before(window.start))
        page: list[Found] | None = self._page(feed, limit=self.settings.page, min_id=after)
        while page is not None:
            end = min(filter(None, (self.client.now(), window.end)))
            found = _settled(page, after, end)
            after = max((one.place for one in found if one.place is not None), default=after)
            follows = self._page(feed, limit=self.settings.page, min_id=after) if page and len(found) == len(page) else []
            found = [one for one in found if one.post]
            watched.learn(_watchable(found))
            seen.update(one.place for one in found if one.place is not None)
            records = self._records(one for one in found if one.at is None or not window.start or one.at >= window.start)
            place = {"after": after, "done": not follows, "watched": watched.packed(), "gone": {}}
            at = next((one.at for one in reversed(found) if one.at), None)
            yield Batch(records, place, progress=window.progress_at(at, end) if at and follows else 1.0)
            page = follows or None
        if window.end is None:
            yield from self._gone(watched, watched.missing(begin, seen), place)

    def _page(self, feed: Feed, **query: int) -> list[Found]:
        return oldest_first(feed, self.client.get(feed.path, {**feed.query, **query}).json())

    def _records(self, found: Iterable[Found]) -> list[Record | RejectedRecord]:
        now = self.client.now()
        return [self._record(one, now) for one in found]

    def _record(self, found: Found, now: datetime) -> Record | RejectedRecord:
        at = placed_at(found.post)
        record = self._posts.create_record({**found.post, "placed_at": at and at.isoformat()}, now)
        return replace(record, time=found.at) if isinstance(record, Record) else record

    def _gone(self, watched: Watched, missing: Mapping[int, Post], place: Cursor) -> Iterator[Batch]:
        """What became of posts that are missing: those still there are read once more, of the others their authors' is known."""
        if not missing:
            return
        still = self._still([post.status for post in missing.values()])
        lost = {number: post for number, post in missing.items() if post.status not in still}
        here = [Found(number, instant(post.at), still[post.status]) for number, post in missing.items() if post.status in still]
        for number in lost:
            del watched.posts[number]
        now = self.client.now().isoformat()
        gone = {post.status: (post.account, post.at, now) for post in lost.values()}
        place = {**place, "watched": watched.packed(), "gone": gone}
        yield Batch(self._records(here), place, progress=1.0)
        if gone:
            yield self._deletes(place)

    def _still(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Those of the posts that the account may still see."""
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(names), MOST_IDS):
            query = urlencode([("id[]", name) for name in names[first : first + MOST_IDS]])
            found.update((post["id"], post) for post in self.client.get(f"/api/v1/statuses?{query}").json())
        return found

    def _deletes(self, place: Cursor) -> Batch:
        """The posts that were found deleted, with the time at which they were: the same after a crash."""
        items = [
            {"id": name, "account": {"id": account}, "placed_at": instant(at).isoformat(), "deleted_at": found}
            for name, (account, at, found) in place["gone"].items()
        ]
        return Batch(self._posts.create_records(items, self.client.now()), {**place, "gone": {}}, progress=1.0)


def _settled(page: list[Found], after: int, end: datetime) -> list[Found]:
    """The entries before the first one whose time has not come. Raises ConfigError where they give no place to go on."""
    found = list(takewhile(lambda one: one.at is None or one.at < end, page))
    if found and all(one.place is None or one.place <= after for one in found):
        raise ConfigError("a page gives no place to go on: its entries have no ids")
    return found


def _watchable(found: Iterable[Found]) -> Iterator[tuple[int, str, str, datetime]]:
    for place, at, post in found:
        account = (post.get("account") or {}).get("id")
        if place is not None and at and post.get("id") and account:
            yield place, post["id"], account, at
