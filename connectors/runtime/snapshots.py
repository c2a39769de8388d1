"""Published content of snapshot records: a snapshot is published only when its content changes."""

import logging
from hashlib import blake2b
from itertools import islice
from struct import Struct

from schemas.records.touchpoint import Touchpoint

MAX_HELD_KEYS = 125_000
MAX_SAVED_KEYS = 3_750
ENTRY = Struct(">8s8s")
IGNORED_FIELDS = {"event_id", "occurred_at", "received_at"}
log = logging.getLogger(__name__)


class Snapshots:
    """Hash of the last published touchpoint of each record key, without its ids and times.

    Holds 125,000 keys (16 MB). A key beyond that is published again when the source next shows it.
    """

    def __init__(self, packed: bytes) -> None:
        self._contents = dict(ENTRY.iter_unpack(packed))
        self._has_warned = False

    def update(self, key: str, content: bytes) -> bool:
        """Store the hash of a content. Return whether it differs from the last one of its key."""
        name = _hash(key.encode("utf-8", "surrogatepass"))
        before = self._contents.pop(name, None)
        self._contents[name] = content
        if len(self._contents) > MAX_HELD_KEYS:
            self._drop_oldest()
        return bool(content != before)

    def pack(self) -> bytes:
        """Return the 3,750 keys updated last, oldest first, 16 bytes each (60 kB), for the state of the stream."""
        last = list(islice(reversed(self._contents.items()), MAX_SAVED_KEYS))
        return b"".join(ENTRY.pack(name, content) for name, content in reversed(last))

    def _drop_oldest(self) -> None:
        del self._contents[next(iter(self._contents))]
        if not self._has_warned:
            text = (
                "a snapshot stream has more than %s keys: each round publishes the oldest of them again, with the same event ids"
            )
            log.warning(text, f"{MAX_HELD_KEYS:,}")
        self._has_warned = True


def hash_content(touchpoint: Touchpoint) -> bytes:
    """Return a hash of the mapped content: all fields except ids and times."""
    return _hash(touchpoint.model_dump_json(exclude=IGNORED_FIELDS).encode())


def _hash(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()
