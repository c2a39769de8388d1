"""Test server with the requests of Mastodon 4.3 that the connector uses; `items` holds posts (Status entities) by id.

GET /api/v1/timelines/tag/acme?min_id=&limit=   200 the posts right after min_id, newest first
GET /api/v1/statuses?id[]=                      200 the posts that exist
401 for a wrong token; tokens do not expire. The rate limit's reset is an ISO 8601 time.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.records.fields import milliseconds

STREAM = "tags:acme"
SETTINGS = {"name": "peer", "mentions": False, "tags": ["acme"], "recheck_hours": 48, "page": 10}
SECRETS = {"token": "peer-token"}
PAGE = 10
UNKNOWN_FIELDS = True


class Peer:
    """The server and its posts."""

    logins = None

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self._names: dict[int, str] = {}

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create a post at `at`, or edit it if it exists, and return its key."""
        edited = number in self._names
        key = self._names.setdefault(number, str((milliseconds(at) << 16) + number % 65_536))
        url = f"https://mastodon.example/@m{number}"
        account = {"id": f"{10**17 + number}", "acct": f"m{number}", "url": url}
        item = {"id": key, "created_at": at.isoformat(), "edited_at": None, "uri": f"{url}/{key}", "account": account}
        changed = {**self.items[key], "edited_at": at.isoformat()} if edited else item
        self.items[key] = {**changed, "content": "<p>fine</p>", "tags": [{"name": "acme"}], **others}
        return key

    def delete(self, number: int, at: datetime) -> str:
        """Delete a post and return its key."""
        key = self._names[number]
        del self.items[key]
        return key

    def expire(self) -> None:
        """Do nothing: tokens do not expire."""

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        status, answer = self._answer(path, query, headers)
        reset = datetime.now(UTC) + timedelta(minutes=5)
        limits = {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "299", "X-RateLimit-Reset": reset.isoformat()}
        return status, {"Content-Type": "application/json", **limits}, json.dumps(answer).encode()

    def _answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        if headers.get("Authorization") != f"Bearer {SECRETS['token']}":
            return 401, {"error": "The access token is invalid"}
        if path == "/api/v1/statuses":
            return 200, [item for item in self.items.values() if item["id"] == query["id[]"]]
        if path == "/api/v1/timelines/tag/acme":
            return 200, self._after(query.get("min_id"), int(query["limit"]))
        return 404, {"error": "Record not found"}

    def _after(self, place: str | None, limit: int) -> list[dict[str, Any]]:
        posts = sorted((int(item["id"] or key), item) for key, item in self.items.items())
        if place is None:
            return [item for _, item in reversed(posts[-limit:])]
        return [item for number, item in posts if number > int(place)][:limit][::-1]
