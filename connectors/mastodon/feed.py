"""The two kinds of stream: the path of each, how to parse an entry, and where a round begins."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from connectors.mastodon.recheck import Recheck
from schemas.errors import ConfigError
from schemas.records.fields import instant, milliseconds

RANDOM_BITS = 16


class Entry(NamedTuple):
    """One entry of a stream: its id (None if it has none), the stream's time of it, and the post (empty if it was deleted)."""

    place: int | None
    at: datetime | None
    post: dict[str, Any]


class Feed(Protocol):
    """One stream; `path` and `query` request a page of it."""

    stream: str
    path: str
    query: dict[str, Any]

    def parse(self, entry: dict[str, Any]) -> Entry:
        """Return one entry of an answer."""
        ...

    def find_begin(self, after: int, recheck: Recheck, lookback: timedelta) -> int:
        """Return the place after which a new round begins if the previous round ended at `after`."""
        ...

    def find_place_before(self, at: datetime | None) -> int:
        """Return a position before all entries from `at` on, the latest that the stream allows to compute."""
        ...


class Mentions:
    """Notifications; their ids are a plain sequence and contain no time."""

    def __init__(self) -> None:
        self.stream = "mentions"
        self.path = "/api/v1/notifications"
        self.query: dict[str, Any] = {"types[]": "mention"}

    def parse(self, entry: dict[str, Any]) -> Entry:
        return Entry(_parse_id(entry["id"]), datetime.fromisoformat(entry["created_at"]), entry["status"] or {})

    def find_begin(self, after: int, recheck: Recheck, lookback: timedelta) -> int:
        return min((after, *(place - 1 for place in recheck.posts)))

    def find_place_before(self, at: datetime | None) -> int:
        return 0


class Hashtag:
    """Posts of one hashtag; an id begins with the time at which the server received the post, or with the author's own time."""

    def __init__(self, tag: str) -> None:
        self.stream = f"tags:{tag}"
        self.path = f"/api/v1/timelines/tag/{quote(tag)}"
        self.query: dict[str, Any] = {}

    def parse(self, entry: dict[str, Any]) -> Entry:
        return Entry(_parse_id(entry["id"]), parse_id_time(entry), entry)

    def find_begin(self, after: int, recheck: Recheck, lookback: timedelta) -> int:
        late = self.find_place_before(instant(after >> RANDOM_BITS) - lookback)
        return min(after, max(late, min(recheck.posts) - 1) if recheck.is_full() else late)

    def find_place_before(self, at: datetime | None) -> int:
        return (milliseconds(at) << RANDOM_BITS) - 1 if at else 0


def parse_id_time(post: dict[str, Any]) -> datetime | None:
    """Return the time that a post's id contains. Raises ConfigError if the server uses ids of another kind."""
    number = _parse_id(post.get("id"))
    return None if number is None else instant(number >> RANDOM_BITS)


def _parse_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise ConfigError("url: the server's ids contain no time, so it is not a Mastodon server: use the rss connector for it")
    return int(text)


def parse_page(feed: Feed, page: Iterable[dict[str, Any]]) -> list[Entry]:
    """Return the entries of an answer, oldest first; the server sends the newest first."""
    return [feed.parse(entry) for entry in reversed(list(page))]
