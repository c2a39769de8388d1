"""Test server of a Jetstream after the lexicon `network.bsky.jetstream.subscribeEvents`; `items` holds its payloads.

GET /xrpc/network.bsky.jetstream.subscribeEvents?cursor=   101, the frames from the cursor on, then a close frame

A sequence number contains the time, so a cursor may be a sequence number or a time.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha1
from typing import Any

from schemas.records.fields import milliseconds

STREAM = "posts"
SETTINGS = {"name": "peer", "protocol": "jetstream", "batch": 10, "quiet_seconds": 0.1}
SECRETS: dict[str, str] = {}
PAGE = 10
UNKNOWN_FIELDS = False
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE = 0x81, 0x88
NAME = "network.bsky.jetstream.subscribeEvents#commit"


class Peer:
    """The Jetstream, which needs no login."""

    logins = 0

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self._count = 0

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create or change a post at `at` and return its key."""
        record = {"$type": "app.bsky.feed.post", "text": "fine", "createdAt": at.isoformat(), "langs": ["en"], **others}
        return self._commit(number, at, "create", record=record, cid="bafy")

    def delete(self, number: int, at: datetime) -> str:
        """Delete a post and return its key; the event contains only the post's address."""
        return self._commit(number, at, "delete")

    def expire(self) -> None:
        """Do nothing: there are no tokens."""

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request; the body is all that the websocket sends."""
        key = sha1((headers["Sec-WebSocket-Key"] + GUID).encode(), usedforsecurity=False).digest()
        shake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": b64encode(key).decode()}
        first = int(query.get("cursor", 10**18))
        payloads = sorted((one for one in self.items.values() if one["seq"] >= first), key=lambda one: int(one["seq"]))
        frames = [_frame(TEXT, json.dumps({"$type": "message", "payload": one}).encode()) for one in payloads]
        shake["connection"] = "close"  # the test server closes after the body
        return 101, {**shake, "Sec-WebSocket-Protocol": "xrpc.v1.json"}, b"".join(frames) + _frame(CLOSE, b"\x03\xe8")

    def _commit(self, number: int, at: datetime, operation: str, **others: Any) -> str:
        self._count += 1
        did, collection, rkey = f"did:plc:m{number}", "app.bsky.feed.post", f"r{number}"
        seq = milliseconds(at) * 1_000 + self._count
        commit = {"did": did, "collection": collection, "rkey": rkey, "rev": str(seq), "operation": operation, "seq": seq}
        self.items[rkey] = {"$type": NAME, **commit, "time": at.isoformat(), "witnessedAt": at.isoformat(), **others}
        return f"at://{did}/{collection}/{rkey}"


def _frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else bytes([126]) + size.to_bytes(2, "big")
    return bytes([kind]) + length + payload
