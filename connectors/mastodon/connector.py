"""Connector that reads posts that mention an account or have a hashtag, page by page with `min_id`.

Guarantee: at least once; repeated reads have the same event id. Edits and deletes: each round reads the last hours again. A post
with a new edit time is another event. The connector requests a missing post by its id before it reports a delete.
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
from connectors.mastodon.feed import Entry, Feed, Hashtag, Mentions, parse_id_time, parse_page
from connectors.mastodon.recheck import Post, Recheck
from connectors.mastodon.settings import MastodonSettings
from connectors.settings import secret_variable
from schemas.errors import ConfigError
from schemas.records.fields import instant
from schemas.records.touchpoint import Touchpoint

FIX = "set {} to an access token with the scopes read:statuses and read:notifications"
MAX_IDS = 20
BEGINNING: Cursor = {"after": 0, "done": False, "watched": {}, "gone": {}}


class Connector(HttpConnector):
    """One account of one server. Streams: `mentions`, and one `tags:<tag>` for each hashtag.

    Cursor: {after, done, watched, gone}. `after` is the place in the stream; `done` is true if the last round reached the end;
    `watched` holds the posts to check again (`recheck.py`); `gone` holds the deleted posts that are not published yet, each with
    author, time, and time of discovery.
    """

    settings_model: ClassVar[type[BaseModel]] = MastodonSettings

    def __init__(self, settings: MastodonSettings) -> None:
        fix = FIX.format(secret_variable(settings.name, "token"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        own = {"system": settings.system, "late_seconds": settings.recheck_hours * 3_600, **settings.identifier_settings()}
        self._posts = RecordMapping(settings.name, "statuses", self.mappings["statuses"].mapping.model_copy(update=own))
        feeds: list[Feed] = [*([Mentions()] if settings.mentions else []), *(Hashtag(tag) for tag in settings.tags)]
        self._feeds = {feed.stream: feed for feed in feeds}

    def login(self, client: Client) -> dict[str, str]:
        """Return the headers with the token, which does not expire."""
        return {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"}

    def check(self) -> str:
        """Request the newest post of each stream. Raises ConfigError with the setting to change."""
        for feed in self._feeds.values():
            self._fetch_page(feed, limit=1)
        return f"can read {', '.join(self._feeds)} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Return `mentions`, then the tags in the order of the settings."""
        return list(self._feeds)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the same properties for all streams: one post may be in several of them."""
        return replace(self._posts.spec, is_shared=True)

    def map_record(self, record: Record) -> Touchpoint:
        """Map the post; the event is the same in each stream."""
        return self._posts.map_record(record)

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield three kinds of batches, in this order.

        1. The deletes in the cursor that are not published yet.
        2. The posts after the cursor, oldest first.
        3. The posts that are missing since the previous round: first those that still exist, then the deletes.
        """
        feed, place, lookback = self._feeds[stream], dict(cursor or BEGINNING), self._posts.spec.lookback
        if place["gone"]:
            yield self._create_deletes(place)
        recheck, seen = Recheck(place["watched"], lookback), set[int]()
        begin = feed.find_begin(place["after"], recheck, lookback) if place["done"] else place["after"]
        begin = after = max(begin, feed.find_place_before(window.start))
        page: list[Entry] | None = self._fetch_page(feed, limit=self.settings.page, min_id=after)
        while page is not None:
            end = min(filter(None, (self.client.now(), window.end)))
            entries = _take_settled(page, after, end)
            after = max((one.place for one in entries if one.place is not None), default=after)
            follows = self._fetch_page(feed, limit=self.settings.page, min_id=after) if page and len(entries) == len(page) else []
            entries = [one for one in entries if one.post]
            recheck.add(_identify(entries))
            seen.update(one.place for one in entries if one.place is not None)
            records = self._create_records(one for one in entries if one.at is None or not window.start or one.at >= window.start)
            place = {"after": after, "done": not follows, "watched": recheck.pack(), "gone": {}}
            at = next((one.at for one in reversed(entries) if one.at), None)
            yield Batch(records, place, progress=window.progress_at(at, end) if at and follows else 1.0)
            page = follows or None
        if window.end is None:
            yield from self._check_missing(recheck, recheck.find_missing(begin, seen), place)

    def _fetch_page(self, feed: Feed, **query: int) -> list[Entry]:
        return parse_page(feed, self.client.get(feed.path, {**feed.query, **query}).json())

    def _create_records(self, entries: Iterable[Entry]) -> list[Record | RejectedRecord]:
        now = self.client.now()
        return [self._create_record(one, now) for one in entries]

    def _create_record(self, entry: Entry, now: datetime) -> Record | RejectedRecord:
        at = parse_id_time(entry.post)
        record = self._posts.create_record({**entry.post, "placed_at": at and at.isoformat()}, now)
        return replace(record, time=entry.at) if isinstance(record, Record) else record

    def _check_missing(self, recheck: Recheck, missing: Mapping[int, Post], place: Cursor) -> Iterator[Batch]:
        """Yield the missing posts that still exist, and a delete for each of the others."""
        if not missing:
            return
        still = self._fetch_posts([post.status for post in missing.values()])
        lost = {number: post for number, post in missing.items() if post.status not in still}
        here = [Entry(number, instant(post.at), still[post.status]) for number, post in missing.items() if post.status in still]
        for number in lost:
            del recheck.posts[number]
        now = self.client.now().isoformat()
        gone = {post.status: (post.account, post.at, now) for post in lost.values()}
        place = {**place, "watched": recheck.pack(), "gone": gone}
        yield Batch(self._create_records(here), place, progress=1.0)
        if gone:
            yield self._create_deletes(place)

    def _fetch_posts(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Return the posts that exist and that the account may read, by id."""
        posts: dict[str, dict[str, Any]] = {}
        for first in range(0, len(names), MAX_IDS):
            query = urlencode([("id[]", name) for name in names[first : first + MAX_IDS]])
            posts.update((post["id"], post) for post in self.client.get(f"/api/v1/statuses?{query}").json())
        return posts

    def _create_deletes(self, place: Cursor) -> Batch:
        """Return the deletes of the cursor. Their times come from the cursor, so they are the same after a crash."""
        items = [
            {"id": name, "account": {"id": account}, "placed_at": instant(at).isoformat(), "deleted_at": deleted_at}
            for name, (account, at, deleted_at) in place["gone"].items()
        ]
        return Batch(self._posts.create_records(items, self.client.now()), {**place, "gone": {}}, progress=1.0)


def _take_settled(page: list[Entry], after: int, end: datetime) -> list[Entry]:
    """Return the entries up to the first one that is not older than `end`. Raises ConfigError if none has an id after `after`."""
    entries = list(takewhile(lambda one: one.at is None or one.at < end, page))
    if entries and all(one.place is None or one.place <= after for one in entries):
        raise ConfigError("url: no entry of a page has an id, so the next page is unknown: is this a Mastodon server?")
    return entries


def _identify(entries: Iterable[Entry]) -> Iterator[tuple[int, str, str, datetime]]:
    """Yield place, id, author and time of the posts that have all four."""
    for place, at, post in entries:
        account = (post.get("account") or {}).get("id")
        if place is not None and at and post.get("id") and account:
            yield place, post["id"], account, at
