"""RSS and Atom feeds, asked for only when they changed.

Guarantee: at least once, exact by event id, for what is in the feed when it is asked for: an entry that comes and goes between
two rounds is never seen, and a feed does not tell of deletes.
"""

import re
from calendar import timegm
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import feedparser
from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Window
from connectors.http.client import Response
from connectors.http.http_connector import HttpConnector
from connectors.mapping.record_mapping import RecordMapping
from connectors.rss.settings import RssSettings
from schemas.errors import ConfigError, RetryableError

FIX = "the feed is not public, and this connector has no way to sign in"
WHOLE_FEED = re.compile(rb"</([\w.-]+:)?(rss|feed|RDF)\s*>", re.IGNORECASE)
LONGEST_END = 16_384
MOST_ENTRIES = 2_000


class Connector(HttpConnector):
    """One feed. Cursor: {etag, modified, seen}, `seen` the entries of the feed as it was last, 8 bytes of hash each."""

    settings_model: ClassVar[type[BaseModel]] = RssSettings

    def __init__(self, settings: RssSettings) -> None:
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=FIX)
        self.settings = settings
        mapping = self.mappings["entries"].mapping
        own = {"system": settings.system, "map": {**mapping.map, "identifiers": settings.identifiers}}
        self.mappings = {"entries": RecordMapping(settings.name, "entries", mapping.model_copy(update=own))}

    def check(self) -> str:
        """How many entries the feed has. Raises ConfigError where there is no feed."""
        return f"{len(_entries(self._ask({})))} entries at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The entries that were not in the feed before, or not in this version, and are not older than the window."""
        before = cursor or {"etag": None, "modified": None, "seen": []}
        answer = self._ask({"If-None-Match": before["etag"], "If-Modified-Since": before["modified"]})
        if answer.status == 304:
            yield Batch((), before, progress=1.0)
            return
        entries = _entries(answer)[:MOST_ENTRIES]
        names = {sha256(f"{one['id']}\x1f{one['version']}".encode()).hexdigest()[:16]: one for one in entries}
        seen = set(before["seen"])
        fresh = [entry for name, entry in reversed(names.items()) if name not in seen and not _early(entry, window.start)]
        now = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified"), "seen": list(names)}
        yield Batch(self.mappings[stream].create_records(fresh, datetime.now(UTC)), now, progress=1.0)

    def _ask(self, headers: dict[str, str | None]) -> Response:
        query = urlsplit(self.settings.url).query
        given = {name: value for name, value in headers.items() if value}
        return self.client.get(f"?{query}" if query else "", headers=given)


def _early(entry: dict[str, Any], start: datetime | None) -> bool:
    return start is not None and entry["at"] is not None and datetime.fromisoformat(entry["at"]) < start


def _entries(answer: Response) -> list[dict[str, Any]]:
    """The feed's entries, newest first as feeds have them. Raises RetryableError for half a feed, ConfigError for none."""
    found = feedparser.parse(BytesIO(answer.body), response_headers={"content-type": answer.headers.get("Content-Type", "")})
    if not found.get("version"):
        raise ConfigError("url: there is no RSS or Atom feed at this address: look for the feed's own link on its page")
    if not WHOLE_FEED.search(answer.body[-LONGEST_END:].replace(b"\0", b"")):  # UTF-16 has zero bytes
        raise RetryableError("the feed ends in the middle")
    return [_item(dict(entry)) for entry in found.entries]


def _item(entry: dict[str, Any]) -> dict[str, Any]:
    """What a mapping can read of an entry; its version is a hash of what is said and when it was changed."""
    at = entry.get("updated_parsed") or entry.get("published_parsed")
    html = next((part.value for part in entry.get("content", ())), None) or entry.get("summary")
    author = entry.get("author_detail", {})
    said = "\x1f".join(str(part) for part in (entry.get("title"), html, entry.get("updated")))
    return {
        "id": entry.get("id") or entry.get("link"),
        "version": sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "at": datetime.fromtimestamp(timegm(at), UTC).isoformat() if at else None,
        "link": entry.get("link"),
        "title": entry.get("title"),
        "html": html,
        "author_name": author.get("name") or entry.get("author") or None,
        "author_email": author.get("email"),
        "author_url": author.get("href"),
        "tags": [tag.term for tag in entry.get("tags", ()) if tag.get("term")] or None,
    }
