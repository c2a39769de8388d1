"""The two kinds of stream: where each is asked for, what its entries say of place, time and post, and where a walk begins."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from connectors.mastodon.watch import Watched
from schemas.errors import ConfigError
from schemas.records.fields import instant, milliseconds

RANDOM_BITS = 16


class Found(NamedTuple):
    """One entry: its id in the stream (None where it has none), the stream's time of it, and the post, empty where it is gone."""

    place: int | None
    at: datetime | None
    post: dict[str, Any]


class Feed(Protocol):
    """One stream: `path` and `query` ask for it."""

    stream: str
    path: str
    query: dict[str, Any]

    def found(self, entry: dict[str, Any]) -> Found:
        """One entry of an answer."""
        ...

    def again(self, after: int, watched: Watched, lookback: timedelta) -> int:
        """The place after which a walk begins that follows one which ended at `after`."""
        ...

    def before(self, at: datetime | None) -> int:
        """A place before everything from `at` on, as near as the stream can tell."""
        ...


class Mentions:
    """Notifications: their ids are a sequence and tell no time."""

    def __init__(self) -> None:
        self.stream = "mentions"
        self.path = "/api/v1/notifications"
        self.query: dict[str, Any] = {"types[]": "mention"}

    def found(self, entry: dict[str, Any]) -> Found:
        return Found(_number(entry["id"]), datetime.fromisoformat(entry["created_at"]), entry["status"] or {})

    def again(self, after: int, watched: Watched, lookback: timedelta) -> int:
        return min((after, *(place - 1 for place in watched.posts)))

    def before(self, at: datetime | None) -> int:
        return 0


class Tagged:
    """The posts of one hashtag: their ids begin with the time at which their server took them in, or they claim to be written."""

    def __init__(self, tag: str) -> None:
        self.stream = f"tags:{tag}"
        self.path = f"/api/v1/timelines/tag/{quote(tag)}"
        self.query: dict[str, Any] = {}

    def found(self, entry: dict[str, Any]) -> Found:
        return Found(_number(entry["id"]), placed_at(entry), entry)

    def again(self, after: int, watched: Watched, lookback: timedelta) -> int:
        late = self.before(instant(after >> RANDOM_BITS) - lookback)
        return min(after, max(late, min(watched.posts) - 1) if watched.full() else late)

    def before(self, at: datetime | None) -> int:
        return (milliseconds(at) << RANDOM_BITS) - 1 if at else 0


def placed_at(post: dict[str, Any]) -> datetime | None:
    """The time in a post's id. Raises ConfigError where the server gives ids of another kind."""
    number = _number(post.get("id"))
    return None if number is None else instant(number >> RANDOM_BITS)


def _number(name: str | None) -> int | None:
    if name is None:
        return None
    if not name.isdecimal():
        raise ConfigError("url: the ids of this server tell no time: it speaks Mastodon's API and is none; use the rss connector")
    return int(name)


def oldest_first(feed: Feed, page: Iterable[dict[str, Any]]) -> list[Found]:
    """The entries of an answer, whose newest comes first."""
    return [feed.found(entry) for entry in reversed(list(page))]
