"""What a step is to the engine: a pure function from a chunk of records and the rows of their keys to outputs.

The engine (`streams/engine`) reads, decodes, loads, publishes and commits; a step never sees Kafka, Faust or a clock.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.errors import RecordError
from schemas.wire.codec import Fields


class Record(NamedTuple):
    """One decoded record of a chunk: its schema's name, its fields, its bytes, its place in the chunk (0-based), its offset."""

    name: str
    fields: Fields
    value: bytes
    position: int
    offset: int


class Output(NamedTuple):
    """One record to publish. `partition` is explicit: the step knows whose partition it writes for."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class Rows:
    """The state rows of one partition during one chunk: read through once, written back together after the chunk.

    Keys and values are bytes; `read` decodes a stored value (or None) and `write` encodes one, so that a row that many
    records of a chunk touch is decoded and encoded once. `load` gives the stored rows of some keys, each with its fence or
    None; `scan` gives all rows.
    """

    def __init__(
        self,
        load: Callable[[list[bytes]], Iterable[tuple[int, bytes] | None]],
        scan: Callable[[], Iterator[tuple[bytes, bytes]]] = lambda: iter(()),
    ) -> None:
        self._load = load
        self.scan = scan
        self._stored: dict[bytes, tuple[int, bytes] | None] = {}
        self._seen: dict[bytes, Any] = {}
        self._changed: dict[bytes, Callable[[Any], bytes]] = {}

    def fetch(self, keys: Iterable[bytes]) -> None:
        """Load rows that will be asked for, all at once, which is cheaper than one by one."""
        missing = [key for key in keys if key not in self._stored]
        self._stored.update(zip(missing, self._load(missing), strict=True))

    def get(self, key: bytes, read: Callable[[bytes | None], Any]) -> Any:
        """The row of `key`, as `read` makes it from the stored bytes or from None."""
        if key not in self._seen:
            stored = self._before(key)
            self._seen[key] = read(None if stored is None else stored[1])
        return self._seen[key]

    def fence(self, key: bytes) -> int:
        """The last offset that the stored row of `key` has folded, -1 for a new one: a record at or before it was seen."""
        stored = self._before(key)
        return -1 if stored is None else stored[0]

    def _before(self, key: bytes) -> tuple[int, bytes] | None:
        if key not in self._stored:
            self.fetch((key,))
        return self._stored[key]

    def put(self, key: bytes, row: Any, write: Callable[[Any], bytes]) -> None:
        """Replace the row of `key`; `write` must not give an empty row."""
        self._seen[key] = row
        self._changed[key] = write

    def drop(self, key: bytes) -> None:
        """Remove the row of `key`: an empty row takes its place."""
        self._seen.pop(key, None)
        self._stored[key] = None
        self._changed[key] = _nothing

    def changes(self) -> Iterator[tuple[bytes, bytes]]:
        """What the chunk changed, encoded, in the order of first change; an empty row is one that was dropped."""
        return ((key, write(self._seen.get(key))) for key, write in self._changed.items())


def _nothing(_row: Any) -> bytes:
    return b""


Refuse = Callable[[Record, RecordError], None]


class Step(Protocol):
    """One stage of the chain.

    `topics` is what it reads: all of them have the same partition count, and only records of the first change rows.
    `table` names its state and `changelog` the compacted topic that keeps it, both empty for a stage without state. Rows whose
    keys begin with the same `row_group_prefix_bytes` bytes are kept or lost together in a crash; 0 is each row by itself.
    `process` is called with one chunk of one partition, in order; it must give the same outputs for the same records and
    rows, whenever it is called. A record it cannot use goes to `refuse` and becomes a dead letter; a record that makes it
    fail is refused for it.
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

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        """Outputs of a chunk, in order; changes to state go into `rows`."""
        ...


def unexpected(record: Record, step: str) -> RecordError:
    """The refusal of a record whose schema has no business in a step's topic."""
    return RecordError("unexpected_schema", f"{step} has no use for a {record.name} record in this topic")
