"""How far a tap has come: its last state, and the rows since, which it sends again when it goes on at that state. Pure."""

import json
from base64 import b64decode, b64encode
from hashlib import blake2b
from itertools import islice
from typing import Any

from connectors.contract import Cursor
from schemas.errors import ConfigError

DIGEST = 8
MOST_ROWS = 4_500
MOST_BYTES = 65_000


class Progress:
    """`state` is opaque to us; of the last 4,500 rows each one's hash is kept, fewer where the state itself is large."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.state: Any = cursor["state"] if cursor else None
        packed = b64decode(cursor["last"]) if cursor else b""
        self._last = dict.fromkeys(packed[at : at + DIGEST] for at in range(0, len(packed), DIGEST))
        self._before = frozenset(self._last)

    def new(self, raw: bytes) -> bool:
        """Whether it is none of the last rows, nor of those that were the last at the cursor; it is the last one now."""
        digest = blake2b(raw, digest_size=DIGEST).digest()
        known = digest in self._before or digest in self._last
        self._last.pop(digest, None)
        self._last[digest] = None
        if len(self._last) > MOST_ROWS:
            del self._last[next(iter(self._last))]
        return not known

    def cursor(self) -> Cursor:
        """{state, last}, JSON of less than 64 kB. Raises ConfigError where the state alone is more."""
        room = (MOST_BYTES - len(json.dumps(self.state))) // 4 * 3 // DIGEST
        if room < 0:
            raise ConfigError("the tap's state has more than the 65,000 bytes that a cursor holds: let it read fewer partitions")
        first = max(0, len(self._last) - room)
        return {"state": self.state, "last": b64encode(b"".join(islice(self._last, first, None))).decode()}
