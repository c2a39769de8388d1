"""One run of `touchline rebuild`: its cursor, servers, stop requests and waits. The steps are in `run.py`."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from kafka import TopicPartition

from deploy.rebuild.cursor import Cursor, delete_cursor, find_resumed, save_cursor
from deploy.rebuild.lag import Waiting, open_admin, read_ends, wait_until_read
from deploy.rebuild.output import format_counts, progress
from deploy.rebuild.publisher import open_publisher
from deploy.rebuild.queries import HistoryReader
from deploy.rebuild.run import Hooks, Rebuild, Result, repeat_incomplete
from deploy.rebuild.scope import Kind, Scope, Work, count_all
from deploy.rebuild.settings import RebuildSettings
from deploy.terminal.program import command
from schemas.errors import FatalError, RetryableError
from schemas.records.fields import instant
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import CUSTOMERS, RESOLVED
from sinks.clickhouse import ClickHouse
from sinks.connection import ClickHouseSettings
from sinks.contract import load_tables
from streams.settings import StreamsSettings


class Session:
    """A rebuild of a scope, or the interrupted one if `resume` is set. Raises ConfigError where there is none to resume.

    The rebuild of one customer has no cursor, so it does not replace that of an interrupted rebuild.
    """

    def __init__(self, settings: KafkaSettings, client: ClickHouse, scope: Scope | None, *, resume: bool) -> None:
        self._settings = settings
        self._client = client
        clickhouse = ClickHouseSettings()
        servers = f"Kafka {settings.bootstrap_servers}, ClickHouse {clickhouse.host}:{clickhouse.port}"
        if resume or scope is None:
            self._cursor = find_resumed(scope, servers)
        else:
            self._cursor = Cursor(scope=scope, servers=servers, began=time.time_ns() // 1_000_000)
        self._reader = HistoryReader(
            client,
            self._cursor.scope,
            StreamsSettings().kept_touchpoints // 2,
            after=self._cursor.last_customer,
            after_large=self._cursor.last_large,
        )
        self._work = self._reader.work()

    def plan(self) -> str:
        """Return one line with the scope, its customers and touchpoints."""
        done = f"; {self._cursor.customers:,} customers are done" if self._cursor.customers else ""
        return f"{self._cursor.scope.text}: {format_counts(count_all(self._work))}{done}"

    @property
    def next_step(self) -> str:
        """Return the command that continues the rebuild after an interruption."""
        if self._cursor.scope.kind is Kind.CUSTOMER:
            return "run the same command again"
        return f"continue with `{command('rebuild --resume')}`"

    def publish(self) -> Result:
        """Save the first cursor, then do steps 2 to 4. Ctrl-C and SIGTERM end them behind the customer in progress."""
        done = self._cursor.touchpoints
        total = done + count_all(self._work).touchpoints
        save = _ignore if self._cursor.scope.kind is Kind.CUSTOMER else save_cursor
        save(self._cursor)
        try:
            with (
                stop_requests() as stop,
                open_publisher(self._settings, RebuildSettings().touchpoints_per_second) as publisher,
                progress("touchpoints published:", total, done=done) as advance,
            ):
                hooks = Hooks(save, advance, stop.is_set)
                result = Rebuild(self._reader, publisher, hooks).run(self._work, self._cursor)
        except RetryableError as error:
            raise RetryableError(f"{error}; {self.next_step}") from error
        except FatalError as error:
            raise FatalError(f"{error}; {self.next_step}") from error
        self._cursor = result.cursor
        if result.is_complete and save is save_cursor:
            delete_cursor()
        return result

    def wait(self) -> int:
        """Do steps 5 to 7, and return the number of incomplete customers that are left.

        Raises RetryableError where no worker or sink reads the records.
        """
        self._wait_for_workers(self._cursor)
        self._repeat_changed()
        scope = self._cursor.scope.model_copy(update={"is_incomplete": True})
        reader = HistoryReader(self._client, scope, StreamsSettings().kept_touchpoints // 2)

        def find() -> Work:
            self._wait_for_sinks()
            return reader.work()

        return repeat_incomplete(find, lambda work: self._repeat(reader, work))

    def _repeat_changed(self) -> None:
        """Do step 6."""
        kept = StreamsSettings().kept_touchpoints
        if not HistoryReader(self._client, self._cursor.scope, kept).work().large:
            return
        self._wait_for_sinks()
        began = instant(self._cursor.began)
        since = max(began, self._cursor.scope.since or began)
        reader = HistoryReader(self._client, self._cursor.scope.model_copy(update={"since": since}), kept)
        self._repeat(reader, Work(reader.work().large, []))

    def _repeat(self, reader: HistoryReader, work: Work) -> None:
        """Publish customers again, and wait for the workers."""
        with open_publisher(self._settings, RebuildSettings().touchpoints_per_second) as publisher:
            result = Rebuild(reader, publisher, Hooks(_ignore, _ignore, _never)).run(work, self._cursor)
        self._cursor = result.cursor
        self._wait_for_workers(result.cursor)

    def _wait_for_workers(self, cursor: Cursor) -> None:
        from streams.engine.worker import GROUP  # late: it imports Faust

        wait_until_read(self._settings, Waiting({GROUP: _targets(cursor)}, "touchline work"), "records read by the workers:")

    def _wait_for_sinks(self) -> None:
        """Wait until the sinks have stored the touchpoints and revisions of the rebuild."""
        with open_admin(self._settings) as admin:
            targets = {RESOLVED: _targets(self._cursor), CUSTOMERS: read_ends(admin, CUSTOMERS)}
        groups = {
            f"touchline-sink-{table.name}": targets[table.topic] for table in load_tables().values() if table.topic in targets
        }
        wait_until_read(self._settings, Waiting(groups, "touchline sink"), "records stored by the sinks:")


@contextmanager
def stop_requests() -> Iterator[Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second one ends the process at once."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, _frame: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop.set()

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _targets(cursor: Cursor) -> dict[TopicPartition, int]:
    return {TopicPartition(RESOLVED, partition): offset + 1 for partition, offset in cursor.ends.items()}


def _ignore(_value: object) -> None:
    """Save no cursor and show no progress, because the rebuild is small."""


def _never() -> bool:
    return False
