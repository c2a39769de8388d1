"""Connector that reads an RSS or Atom feed with conditional requests.

Guarantee: at least once for the entries that the feed holds when it is read; repeated reads have the same event id. An entry that
appears and disappears between two rounds is lost. Deletes: none, a feed does not report them.
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

FIX = "the feed is not public and this connector cannot log in: use the address of a public feed"
END_OF_FEED = re.compile(rb"</([\w.-]+:)?(rss|feed|RDF)\s*>", re.IGNORECASE)
MAX_END_BYTES = 16_384
MAX_ENTRIES = 2_000


class Connector(HttpConnector):
    """One feed. Cursor: {etag, modified, seen}; `seen` holds a hash of 8 bytes for each entry of the last answer."""

    settings_model: ClassVar[type[BaseModel]] = RssSettings

    def __init__(self, settings: RssSettings) -> None:
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=FIX)
        self.settings = settings
        mapping = self.mappings["entries"].mapping
        map_ = {**mapping.map, "identifiers": settings.identifiers}
        own = {"system": settings.system, "map": map_, **settings.identifier_settings()}
        self.mappings = {"entries": RecordMapping(settings.name, "entries", mapping.model_copy(update=own))}

    def check(self) -> str:
        """Return the number of entries. Raises ConfigError if the address serves no feed."""
        return f"{len(_parse_entries(self._fetch({})))} entries at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the entries that are new or changed since the cursor and not older than the window."""
        before = cursor or {"etag": None, "modified": None, "seen": []}
        answer = self._fetch({"If-None-Match": before["etag"], "If-Modified-Since": before["modified"]})
        if answer.status == 304:
            yield Batch((), before, progress=1.0)
            return
        entries = _parse_entries(answer)[:MAX_ENTRIES]
        names = {sha256(f"{one['id']}\x1f{one['version']}".encode()).hexdigest()[:16]: one for one in entries}
        seen = set(before["seen"])
        fresh = [entry for name, entry in reversed(names.items()) if name not in seen and not _is_before(entry, window.start)]
        now = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified"), "seen": list(names)}
        yield Batch(self.mappings[stream].create_records(fresh, datetime.now(UTC)), now, progress=1.0)

    def _fetch(self, headers: dict[str, str | None]) -> Response:
        query = urlsplit(self.settings.url).query
        given = {name: value for name, value in headers.items() if value}
        return self.client.get(f"?{query}" if query else "", headers=given)


def _is_before(entry: dict[str, Any], start: datetime | None) -> bool:
    return start is not None and entry["at"] is not None and datetime.fromisoformat(entry["at"]) < start


def _parse_entries(answer: Response) -> list[dict[str, Any]]:
    """Return the entries, newest first as in the feed. Raises RetryableError for a truncated feed, ConfigError for no feed."""
    feed = feedparser.parse(BytesIO(answer.body), response_headers={"content-type": answer.headers.get("Content-Type", "")})
    if not feed.get("version"):
        raise ConfigError("url: there is no RSS or Atom feed at this address: use the link to the feed on its page")
    if not END_OF_FEED.search(answer.body[-MAX_END_BYTES:].replace(b"\0", b"")):  # zero bytes of UTF-16
        raise RetryableError("the feed is truncated")
    return [_convert_entry(dict(entry)) for entry in feed.entries]


def _convert_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a mapping can read. The version is a hash of title, text and time of change."""
    at = entry.get("updated_parsed") or entry.get("published_parsed")
    html = next((part.value for part in entry.get("content", ())), None) or entry.get("summary")
    author = entry.get("author_detail", {})
    content = "\x1f".join(str(part) for part in (entry.get("title"), html, entry.get("updated")))
    return {
        "id": entry.get("id") or entry.get("link"),
        "version": sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "at": datetime.fromtimestamp(timegm(at), UTC).isoformat() if at else None,
        "link": entry.get("link"),
        "title": entry.get("title"),
        "html": html,
        "author_name": author.get("name") or entry.get("author") or None,
        "author_email": author.get("email"),
        "author_url": author.get("href"),
        "tags": [tag.term for tag in entry.get("tags", ()) if tag.get("term")] or None,
    }
