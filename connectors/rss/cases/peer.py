"""Test server of a weblog after RFC 4287 (Atom) and RFC 9110 (conditional requests); `items` holds its entries as XML.

GET any path    200 with ETag; 304 if If-None-Match names the ETag
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from xml.sax.saxutils import escape

STREAM = "entries"
SETTINGS = {"name": "peer", "system": "weblog"}
SECRETS: dict[str, str] = {}
PAGE = 10
UNKNOWN_FIELDS = False
FEED = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>weblog</title><id>urn:weblog</id><updated>2026-01-01T00:00:00Z</updated>
{}
</feed>
"""
ENTRY = """<entry><id>{key}</id><title>{title}</title><updated>{at}</updated><link href="https://weblog.example/{key}"/>
<author><name>Ann</name><email>m{number}@example.org</email></author>
<content type="html">&lt;p&gt;fine&lt;/p&gt;</content></entry>"""


class Peer:
    """The weblog, which needs no login."""

    logins = 0

    def __init__(self) -> None:
        self.items: dict[str, str] = {}

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create or change an entry at `at` and return its key."""
        key = f"urn:entry:{number:05}"
        title = escape(str(others.get("title", "Hello")))
        self.items[key] = ENTRY.format(key=key, number=number, at=at.isoformat(), title=title)
        return key

    def delete(self, number: int, at: datetime) -> str:
        """Remove an entry from the feed and return its key."""
        key = f"urn:entry:{number:05}"
        del self.items[key]
        return key

    def expire(self) -> None:
        """Do nothing: there are no tokens."""

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        feed = FEED.format("\n".join(reversed(self.items.values()))).encode()
        tag = f'"{sha256(feed).hexdigest()[:8]}"'
        if headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        return 200, {"ETag": tag, "Content-Type": "application/atom+xml"}, feed
