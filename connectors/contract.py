"""What a connector is: a folder `connectors/<name>/` whose `connector.py` holds one class named `Connector`.

The runner (`connectors/runtime/runner.py`) owns Kafka, cursors, retries and metrics; a connector only reads its source and maps
records. Everything it hands over is a value, so most of its tests need no broker.
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
    """How a batch stands to the cursor that `read` was given."""

    NEXT = "next"
    """It follows the cursor: publish and count it."""
    REPLAY = "replay"
    """It lies before the cursor and was published in an earlier run: only its event ids are remembered."""
    RESTART = "restart"
    """The stream begins anew, first time or after a change: totals start from zero, then as NEXT."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source, not yet mapped.

    `key` and `version` identify it within its feed, `raw` holds its original bytes, `position` says where in the stream it
    stood (a line number, a key), `read_at` is when the connector read it. `time` is the source's own time that the stream is
    read by, where it is read by time. `deleted` says that the source has taken it back: its mapping makes a touchpoint of that.
    """

    stream: str
    key: str
    version: str
    data: dict[str, Any]
    raw: bytes
    position: str
    read_at: datetime
    time: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """One record that could not even be read as a record. `raw` may be cut short; `size` is its full length in bytes."""

    raw: bytes
    size: int
    position: str
    error: RecordError


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order of the source, and the cursor AFTER them; an empty one where there is no place to go on from.

    `progress` is how much of the stream lies behind this batch, 0 to 1, for progress bars: 1 for the last one.
    """

    records: Sequence[Record | RejectedRecord]
    cursor: Cursor
    phase: Phase = Phase.NEXT
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What the runner must know of a stream.

    | field      | meaning |
    |------------|---------|
    | `source`   | the event family that its records belong to |
    | `deletes`  | how a delete shows: not at all, as a mark on the record, in a log of its own |
    | `lookback` | how far each round reads again behind its cursor, because the source may show records late |
    | `timed`    | its records have a `time` and `read` keeps to a window: it can be backfilled |
    | `snapshot` | its records are states, not events: one is published only when its touchpoint says something new |
    | `shared`   | its records may come in the connector's other streams, too: what one of them remembers counts as repeated |
    """

    source: str
    deletes: Literal["none", "soft", "log"] = "none"
    lookback: timedelta = timedelta(0)
    timed: bool = False
    snapshot: bool = False
    shared: bool = False


class Window(NamedTuple):
    """The source time to read: from `start` (None: the beginning) until before `end` (None: as far as is settled)."""

    start: datetime | None = None
    end: datetime | None = None

    def progress_at(self, at: datetime, now: datetime) -> float:
        """How much of the window lies before `at`, 0 to 1; 0 where it has no beginning."""
        if self.start is None or at <= self.start:
            return 0.0
        return min(1.0, (at - self.start) / ((self.end or now) - self.start))


UNBOUNDED = Window()


class Connector(Protocol):
    """One source system, opened with its settings. The runner calls all methods from one thread.

    | method       | called                                          | errors, and what the runner does |
    |--------------|-------------------------------------------------|----------------------------------|
    | `check`      | once before anything else, and by `--check`     | ConfigError: stop, exit code 2   |
    | `streams`    | each round, with the saved cursors of this name | RetryableError: back off, again  |
    | `read`       | for each stream that `streams` named            | RetryableError: back off, again from the saved cursor |
    | `touchpoint` | once for each Record of a batch                 | RecordError: dead letter, go on  |
    | `count`      | for each stream that was backfilled             | RetryableError: back off, again  |
    | `close`      | once at the end, also after an error            |                                  |

    `connectors/errors.py` tells apart the kinds of RetryableError (RateLimitedError, CursorExpiredError) and ConfigError.
    A connector never sleeps and never tries again by itself. A ConfigError of any method stops it with exit code 2.
    Any other error ends the process; its supervisor starts it again and nothing is lost, because a cursor is saved only
    after everything before it was acknowledged.
    """

    settings_model: ClassVar[type[BaseModel]]
    """Frozen, `extra="forbid"`; the settings file is validated against it."""
    name: str
    """The instance: label of metrics and `connector` of every touchpoint."""
    poll_seconds: float
    """The pause between two rounds."""
    start: datetime | None
    """Where live reading began: nothing older is read but by a backfill. None: from the beginning."""
    rate_limit: RateLimit
    """What the account still allows; the runner lowers it for a backfill."""

    def check(self) -> str:
        """One line saying what was found. Raises ConfigError with what to change."""
        ...

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterable[str]:
        """The streams that have something to read; `saved` holds the cursor of each stream read before.

        A stream's text before the first `:` is its feed, the rest its part of the feed. The result is consumed lazily,
        one stream read before the next is asked for.
        """
        ...

    def describe_stream(self, stream: str) -> StreamSpec:
        """What the stream is like; always the same."""
        ...

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """What lies after the cursor and within the window, in batches of at most 2,000 records and some megabytes. Finite.

        A timed stream begins at the window's start where there is no cursor, keeps records of equal time apart by their key,
        and never lets its cursor run ahead of the source's clock: a record from the future waits until its time has come.
        A cursor is JSON of less than 64 kB. At most two pages are in memory at once.
        Safe to abandon at any yield: reading again with the cursor of the last batch goes on after it. The consumer asks
        for the next batch only when this one is acknowledged and its cursor saved. A source that can be read again from
        its start yields REPLAY batches first, so that records repeated across a restart are still seen as repeated.
        """
        ...

    def map_record(self, record: Record) -> Touchpoint:
        """The record as a touchpoint: a pure function of the record and the settings. Raises RecordError."""
        ...

    def count(self, stream: str, window: Window) -> int | None:
        """How many records the source says it holds in the window; None where it cannot say."""
        ...

    def close(self) -> None:
        """Let go of everything that was opened."""
        ...


@runtime_checkable
class Listener(Protocol):
    """What a connector has besides, when it does not ask its source but is sent its records.

    Its `read` yields what has come. To ask it for the next batch is to say that this one is kept, and its senders are told so;
    to abandon it is to have them send again. There is no end to be read to and nothing to be read again by time.
    """

    def listen(self, *, acknowledge: bool) -> str:
        """Open the door and return its address; called once, before `streams`. Raises ConfigError where that cannot be.

        With `keep` false every sender is told to send again, whatever is read: for a look at what comes.
        """
        ...
