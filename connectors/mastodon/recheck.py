"""Posts that each round checks again. A post that the round no longer finds was deleted, or the account may no longer read it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.records.fields import milliseconds

MAX_POSTS = 600
Packed = dict[str, tuple[str, str, int]]


class Post(NamedTuple):
    """A post as the cursor stores it: its id, its author's id, and the stream's time of it in milliseconds since 1970."""

    status: str
    account: str
    at: int


class Recheck:
    """Posts of the last `lookback` before the newest post, by their id in the stream: at most the newest 600 (50 kB)."""

    def __init__(self, packed: Packed, lookback: timedelta) -> None:
        self._lookback = lookback // timedelta(milliseconds=1)
        self.posts = {int(place): Post(*post) for place, post in packed.items()}

    def add(self, posts: Iterable[tuple[int, str, str, datetime]]) -> None:
        """Add posts (place, status, account, time) and drop those that are too old or too many."""
        self.posts.update((place, Post(status, account, milliseconds(at))) for place, status, account, at in posts)
        first = max((post.at for post in self.posts.values()), default=0) - self._lookback
        kept = sorted(place for place, post in self.posts.items() if post.at >= first)[-MAX_POSTS:]
        self.posts = {place: self.posts[place] for place in kept}

    def is_full(self) -> bool:
        """Return whether older posts may have been dropped because there are too many."""
        return len(self.posts) == MAX_POSTS

    def find_missing(self, begin: int, seen: set[int]) -> dict[int, Post]:
        """Return the posts after `begin` that are not among those that the round has seen."""
        return {place: post for place, post in self.posts.items() if place > begin and place not in seen}

    def pack(self) -> Packed:
        """Return the posts as JSON for the cursor."""
        return {str(place): (post.status, post.account, post.at) for place, post in self.posts.items()}
