"""Contract between the engine and a step. A step is a pure function of a chunk of records and the state rows of their keys.

The engine (`streams/engine`) reads, decodes, loads, publishes and commits. A step never sees Kafka, Faust or a clock.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.errors import FatalError, RecordError
from schemas.wire.codec import Fields


class StateError(FatalError):
    """The stored state cannot be used: its disk fails, or newer software wrote it. No record is to blame; the process ends."""


class Record(NamedTuple):
    """One decoded record of a chunk: schema name, fields, bytes, position in the chunk (from 0), Kafka offset and time (ms)."""

    name: str
    fields: Fields
    value: bytes
    position: int
    offset: int
    timestamp: int = 0


class Output(NamedTuple):
    """One record to publish. The step chooses the partition."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class Rows:
    """State rows of one partition during one chunk. They are read on first use and written together after the chunk.

    Keys and values are bytes. `read` decodes a stored value (or None) and `write` encodes a row, so that a row is
    decoded and encoded once even if many records of a chunk change it. `load` returns the stored rows of some keys, each with its
    last applied offset, or None; `scan` returns all rows.
    """

    def __init__(
        self,
        load: Callable[[list[bytes]], Iterable[tuple[int, bytes] | None]],
        scan: Callable[[], Iterator[tuple[bytes, bytes]]] = lambda: iter(()),
    ) -> None:
        self._load = load
        self.scan = scan
        self._stored: dict[bytes, tuple[int, bytes] | None] = {}
        self._decoded: dict[bytes, Any] = {}
        self._changed: dict[bytes, Callable[[Any], bytes]] = {}

    def fetch(self, keys: Iterable[bytes]) -> None:
        """Load the rows of many keys in one call, which is faster than one call per key."""
        missing = [key for key in keys if key not in self._stored]
        self._stored.update(zip(missing, self._load(missing), strict=True))

    def get(self, key: bytes, read: Callable[[bytes | None], Any]) -> Any:
        """Return the row of `key`, decoded by `read` from the stored bytes or from None."""
        if key not in self._decoded:
            stored = self._stored_row(key)
            self._decoded[key] = read(None if stored is None else stored[1])
        return self._decoded[key]

    def last_applied_offset(self, key: bytes) -> int:
        """Return the last offset that the stored row contains, -1 for a new row. Records up to it are repetitions."""
        stored = self._stored_row(key)
        return -1 if stored is None else stored[0]

    def _stored_row(self, key: bytes) -> tuple[int, bytes] | None:
        if key not in self._stored:
            self.fetch((key,))
        return self._stored[key]

    def put(self, key: bytes, row: Any, write: Callable[[Any], bytes]) -> None:
        """Replace the row of `key`. `write` must not return an empty value, which means a deleted row."""
        self._decoded[key] = row
        self._changed[key] = write

    def drop(self, key: bytes) -> None:
        """Delete the row of `key` by writing an empty value."""
        self._decoded.pop(key, None)
        self._stored[key] = None
        self._changed[key] = _empty_value

    def changes(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the encoded rows that the chunk changed, in the order of their first change. An empty value deletes the row."""
        return ((key, write(self._decoded.get(key))) for key, write in self._changed.items())


def _empty_value(_row: Any) -> bytes:
    return b""


Refuse = Callable[[Record, RecordError], None]


class Step(Protocol):
    """One stage of the chain.

    - `topics` are its inputs. All have the same number of partitions. Only records of the first topic may change rows.
    - `table` names its state and `changelog` the compacted topic that stores it. Both are empty for a step without state.
    - `row_group_prefix_bytes` forms row groups: a crash keeps or loses all rows whose keys share so many first bytes. With 0,
      each row is a group of its own.
    - `max_row_bytes` limits each state row. A record that would make a larger row becomes a dead letter (`too_large`).
    - `process` is called with one chunk of one partition at a time, in order. The same records and rows must give the same
      outputs at any time. It passes a record that it cannot use to `refuse`, which makes it a dead letter. A record that
      raises an error becomes a dead letter as well. A StateError ends the process.
    """

    @property
    def name(self) -> str: ...

    @property
    def topics(self) -> tuple[str, ...]: ...

    @property
    def table(self) -> str: ...

    @property
    def changelog(self) -> str: ...

    @property
    def row_group_prefix_bytes(self) -> int: ...

    @property
    def max_row_bytes(self) -> int: ...

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        """Return the outputs of a chunk in order; put state changes into `rows`."""
        ...


def unexpected_schema(record: Record, step: str) -> RecordError:
    """Return the error for a record whose schema does not belong in a topic of the step."""
    return RecordError("unexpected_schema", f"{step} cannot use a {record.name} record from this topic")
