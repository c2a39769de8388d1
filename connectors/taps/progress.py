"""Progress of a tap: its last state and the hashes of the last rows, which it sends again after that state. Pure."""

import json
from base64 import b64decode, b64encode
from hashlib import blake2b
from itertools import islice
from typing import Any

from connectors.contract import Cursor
from schemas.errors import ConfigError

HASH_BYTES = 8
MAX_ROWS = 4_500
MAX_CURSOR_BYTES = 65_000


class Progress:
    """The tap's `state`, and hashes of its last 4,500 rows, or fewer if the state is large."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.state: Any = cursor["state"] if cursor else None
        packed = b64decode(cursor["last"]) if cursor else b""
        self._last = dict.fromkeys(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))
        self._before = frozenset(self._last)

    def add(self, raw: bytes) -> bool:
        """Add a row and return whether it is new, that is, neither one of the last rows nor of those in the cursor."""
        digest = blake2b(raw, digest_size=HASH_BYTES).digest()
        known = digest in self._before or digest in self._last
        self._last.pop(digest, None)
        self._last[digest] = None
        if len(self._last) > MAX_ROWS:
            del self._last[next(iter(self._last))]
        return not known

    def create_cursor(self) -> Cursor:
        """Return {state, last}, less than 64 kB of JSON. Raises ConfigError if the state alone is larger."""
        room = (MAX_CURSOR_BYTES - len(json.dumps(self.state))) // 4 * 3 // HASH_BYTES
        if room < 0:
            raise ConfigError("the tap's state exceeds the 65,000 bytes of a cursor: let the tap read fewer partitions")
        first = max(0, len(self._last) - room)
        return {"state": self.state, "last": b64encode(b"".join(islice(self._last, first, None))).decode()}
