"""Test server of the fictitious review service; `tests/harness/connector_peers.py` serves it on loopback.

POST /v1/token {secret}                                 201 {token}; 401 for a wrong secret
GET  /v1/reviews?changed_from=&after=&limit=            200 {reviews: [...]}, after (changed_from, after) by (changed_at, id)
GET  /v1/reviews/count?changed_from=&changed_before=    200 {count}
401 without a valid token.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STREAM = "reviews"
SETTINGS = {"name": "peer", "page": 10}
SECRETS = {"secret": "peer-secret"}
PAGE = 10
UNKNOWN_FIELDS = True
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class Peer:
    """The service with its reviews by id. `logins` counts the issued tokens."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.logins = 0
        self._tokens: set[str] = set()

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create or change a review at `at` and return its key."""
        key = f"r{number:05}"
        author = {"id": f"m{number}", "email": f"m{number}@example.org"}
        item = {"id": key, "changed_at": at.isoformat(), "deleted": False, "author": author, "stars": 4, "text": "fine"}
        self.items[key] = {**item, **others}
        return key

    def delete(self, number: int, at: datetime) -> str:
        """Mark a review as deleted at `at` and return its key."""
        return self.put(number, at, deleted=True, text=None, stars=None)

    def expire(self) -> None:
        """Revoke all tokens."""
        self._tokens.clear()

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        status, answer = self._answer(method, path, query, headers, body)
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        if (method, path) == ("POST", "/v1/token"):
            return self._token(json.loads(body))
        if headers.get("Authorization") not in self._tokens:
            return 401, {"error": "token"}
        if path == "/v1/reviews/count":
            return 200, {"count": len(self._between(query))}
        if path == "/v1/reviews":
            return 200, {"reviews": self._between(query)[: int(query["limit"])]}
        return 404, {"error": "path"}

    def _token(self, given: dict[str, str]) -> tuple[int, Any]:
        if given != SECRETS:
            return 401, {"error": "secret"}
        self.logins += 1
        self._tokens.add(f"Bearer token-{self.logins}")
        return 201, {"token": f"token-{self.logins}"}

    def _between(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        first = (_instant(query.get("changed_from"), EARLIEST), query.get("after", ""))
        before = _instant(query.get("changed_before"), LATEST)
        items = [(_instant(item["changed_at"], EARLIEST), key, item) for key, item in self.items.items()]
        return [item for at, key, item in sorted(items, key=lambda one: one[:2]) if (at, key) > first and at < before]


def _instant(text: str | None, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else otherwise
