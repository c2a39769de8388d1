"""The posts of a stream that are looked at again: what a walk no longer finds among them was deleted, or is there no more."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.records.fields import milliseconds

MOST_WATCHED = 600
Packed = dict[str, tuple[str, str, int]]


class Post(NamedTuple):
    """A post as the cursor remembers it: its id, its author's, and the stream's time of it in milliseconds since 1970."""

    status: str
    account: str
    at: int


class Watched:
    """The posts of the last `lookback` before the newest, by their place in the stream; at most 600 (50 kB), the newest ones."""

    def __init__(self, packed: Packed, lookback: timedelta) -> None:
        self._lookback = lookback // timedelta(milliseconds=1)
        self.posts = {int(place): Post(*post) for place, post in packed.items()}

    def learn(self, found: Iterable[tuple[int, str, str, datetime]]) -> None:
        """Add posts (place, status, account, time), and forget those too old or too many."""
        self.posts.update((place, Post(status, account, milliseconds(at))) for place, status, account, at in found)
        first = max((post.at for post in self.posts.values()), default=0) - self._lookback
        kept = sorted(place for place, post in self.posts.items() if post.at >= first)[-MOST_WATCHED:]
        self.posts = {place: self.posts[place] for place in kept}

    def full(self) -> bool:
        """Whether older posts may have been forgotten for want of room."""
        return len(self.posts) == MOST_WATCHED

    def missing(self, begin: int, seen: set[int]) -> dict[int, Post]:
        """The posts that a walk from after `begin` to the end should have seen and has not."""
        return {place: post for place, post in self.posts.items() if place > begin and place not in seen}

    def packed(self) -> Packed:
        """As JSON, for the cursor."""
        return {str(place): (post.status, post.account, post.at) for place, post in self.posts.items()}
