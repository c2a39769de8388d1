"""Contract of a connector: a folder `connectors/<name>/` whose `connector.py` holds one class named `Connector`.

The runner (`connectors/runtime/runner.py`) owns Kafka, cursors, retries and metrics. A connector only reads its source and maps
records. All of its results are plain values, so most of its tests need no broker.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel

from connectors.http.rate_limit import RateLimit
from schemas.errors import RecordError
from schemas.records.touchpoint import Touchpoint

Cursor = Mapping[str, Any]


class Phase(Enum):
    """Relation of a batch to the cursor that `read` received."""

    NEXT = "next"
    """The batch follows the cursor: the runner publishes and counts it."""
    REPLAY = "replay"
    """The batch lies before the cursor and is published already: the runner only remembers its event ids."""
    RESTART = "restart"
    """The stream begins again: the runner sets its totals to zero, then treats the batch as NEXT."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source, before it is mapped.

    | field        | meaning |
    |--------------|---------|
    | `key`        | identity of the record within its feed |
    | `version`    | version of the record; key and version together give the event id |
    | `data`       | the fields that expressions read |
    | `raw`        | payload of a dead letter: the bytes of a line or message, or the parsed item as JSON |
    | `position`   | place in the stream, such as a line number or a key |
    | `read_at`    | time at which the connector read it |
    | `time`       | source time that the stream is read by; None in a stream that is not read by time |
    | `is_deleted` | the source has deleted the record; its mapping makes a touchpoint of the delete |
    """

    stream: str
    key: str
    version: str
    data: dict[str, Any]
    raw: bytes
    position: str
    read_at: datetime
    time: datetime | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that cannot be parsed. `raw` may be truncated; `size` is its full length in bytes."""

    raw: bytes
    size: int
    position: str
    error: RecordError


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order of the source, and the cursor after them: an empty one if the source has no position to resume at.

    `progress` is the share of the stream up to the end of this batch, from 0 to 1, for progress bars. The last batch has 1.
    """

    records: Sequence[Record | RejectedRecord]
    cursor: Cursor
    phase: Phase = Phase.NEXT
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Properties of a stream that the runner needs.

    | field         | meaning |
    |---------------|---------|
    | `source`      | event family of its records |
    | `deletes`     | visibility of deletes: none, a mark on the record, or a log of its own |
    | `lookback`    | overlap: each round reads this far before its cursor again, because the source may show records late |
    | `is_timed`    | records have a `time` and `read` respects its window: the stream can be backfilled |
    | `is_snapshot` | records are states, not events: a record is published only when its mapped content changes |
    | `is_shared`   | other streams of the connector may bring the same records: these count as repeated |
    """

    source: str
    deletes: Literal["none", "soft", "log"] = "none"
    lookback: timedelta = timedelta(0)
    is_timed: bool = False
    is_snapshot: bool = False
    is_shared: bool = False


class Window(NamedTuple):
    """Range of source time to read: from `start` (None: the beginning), and before `end` (None: the source's present time)."""

    start: datetime | None = None
    end: datetime | None = None

    def progress_at(self, at: datetime, now: datetime) -> float:
        """Return the share of the window before `at`, from 0 to 1; 0 for a window without a start."""
        if self.start is None or at <= self.start:
            return 0.0
        return min(1.0, (at - self.start) / ((self.end or now) - self.start))


UNBOUNDED = Window()


class Connector(Protocol):
    """One source system, opened with its settings. The runner calls all methods from one thread.

    | method            | called                                           | errors, and the reaction of the runner |
    |-------------------|--------------------------------------------------|----------------------------------------|
    | `check`           | once before anything else, and by `--check`      | ConfigError: stop, exit code 2         |
    | `list_streams`    | each round, with the saved cursors               | RetryableError: back off, retry        |
    | `describe_stream` | any time, for a stream of `list_streams`         |                                        |
    | `read`            | each round, for each stream of `list_streams`    | RetryableError: back off, retry from saved cursor |
    | `map_record`      | once for each Record of a batch                  | RecordError: dead letter, continue     |
    | `count`           | at the end of a backfill, for each of its streams | RetryableError: exit code 1           |
    | `close`           | once at the end, also after an error             |                                        |

    `connectors/errors.py` lists the kinds of RetryableError and ConfigError. A ConfigError of any method stops the process with
    exit code 2. Any other error ends the process with another code and its supervisor restarts it. No record is lost, because a
    cursor is saved only after Kafka has acknowledged everything before it. A connector never sleeps and never retries by itself.
    """

    settings_model: ClassVar[type[BaseModel]]
    """Model of the settings file: frozen, `extra="forbid"`."""
    name: str
    """The instance: label of metrics and `connector` of every touchpoint."""
    poll_seconds: float
    """Pause between two rounds."""
    start: datetime | None
    """Start of live mode; only a backfill reads older records. None: the beginning of the source."""
    rate_limit: RateLimit
    """Requests that the account still allows; a backfill lowers it to half."""

    def check(self) -> str:
        """Return one line about the source. Raises ConfigError with the setting to change."""
        ...

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterable[str]:
        """Return the streams to read; `saved` holds the cursor of each stream read before.

        The text before the first `:` of a stream names its feed, the rest its part of the feed. The runner consumes the result
        lazily: it reads one stream before it requests the next.
        """
        ...

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties of a stream, which never change."""
        ...

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the records after the cursor and within the window, until the end of the stream. Rules:

        - A batch holds at most 2,000 records and a few megabytes; at most two pages are in memory at once.
        - A cursor is JSON of less than 64 kB. Reading with the cursor of a batch continues after that batch.
        - The caller may stop after any batch. It requests the next batch only after Kafka has acknowledged this one.
        - Without a cursor, a timed stream begins at the start of the window. Its cursor holds time and key: times may be equal.
        - The cursor of a timed stream never passes the source's clock: a record from the future waits for a later round.
        - A source that can be read again from its start yields REPLAY batches first, so that repeated records are recognised.
        """
        ...

    def map_record(self, record: Record) -> Touchpoint:
        """Return the touchpoint of a record: a pure function of the record and the settings. Raises RecordError."""
        ...

    def count(self, stream: str, window: Window) -> int | None:
        """Return the number of records that the source holds in the window, or None if the source cannot count."""
        ...

    def close(self) -> None:
        """Release all connections and files."""
        ...


@runtime_checkable
class Listener(Protocol):
    """Additional contract of a connector that receives its records instead of reading them.

    Its `read` yields the records received. Requesting the next batch acknowledges the previous one: its senders get 2xx. If the
    runner stops reading, the senders get an error and send again. Such a stream has no end and cannot be read by time.
    """

    def listen(self, *, acknowledge: bool) -> str:
        """Start the server and return its address. Called once, before `list_streams`. Raises ConfigError.

        With `acknowledge` false every sender gets an error and sends again: for `--preview`.
        """
        ...
