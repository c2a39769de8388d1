"""All tables of one process: start them, watch them, and end them together."""

import asyncio
import gc
import logging
import threading
import time

from aiokafka.errors import KafkaError

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.connection import KafkaSettings
from schemas.service.health import Heartbeat
from schemas.service.telemetry import LOOP_LAG
from sinks import kafka
from sinks.clickhouse import ClickHouse
from sinks.connection import ClickHouseSettings
from sinks.contract import Table
from sinks.refreshes import watch_refreshes
from sinks.runner import Runner

WATCH_SECONDS = 1.0
LAG_SECONDS = 10.0
LAG_TIMEOUT_SECONDS = 5.0
FINISH_SECONDS = 5.0
CLOSE_SECONDS = 1.5
# By default Python collects after every 700 new objects. A chunk has hundreds of thousands of objects, all in use and none in a
# cycle: 1.07 million records took 34.7 s of processor time with the default thresholds, and 24.4 s with these.
COLLECT_THRESHOLDS = (20_000, 50, 100)
log = logging.getLogger(__name__)
Running = dict[asyncio.Task[None], Runner]


def require_server(settings: ClickHouseSettings) -> None:
    """Return once ClickHouse answers a query. Raises RetryableError while it is down, ConfigError for wrong credentials."""
    client = ClickHouse(settings)
    try:
        client.query("SELECT 1")
    finally:
        client.close()


class Sinks:
    """All tables of one process, until `stop`.

    The probes `check_live` and `check_ready` return the reason why not, or an empty text; any thread may call them.
    """

    def __init__(self, tables: list[Table], settings: KafkaSettings, stop: threading.Event) -> None:
        self._tables = tables
        self._settings = settings
        self._stop = stop
        self._runners: list[Runner] = []
        self._heartbeat = Heartbeat()
        self.check_live = self._heartbeat.check_live
        LOOP_LAG.set_function(self._heartbeat.lag)

    def check_ready(self) -> str:
        """Return the tables that do not read their topic yet."""
        reading = {runner.table.name for runner in self._runners if runner.started}
        missing = [table.name for table in self._tables if table.name not in reading]
        return f"not reading yet: {', '.join(missing)}" if missing else ""

    async def run(self, until_idle: float | None = None) -> None:
        """Store records until `stop`, or until no record was waiting for `until_idle` seconds.

        A misconfigured table ends alone and the other tables continue; any other error ends all. The first error is raised at
        the end.
        """
        gc.freeze()
        gc.set_threshold(*COLLECT_THRESHOLDS)
        dead_letters = kafka.make_producer(self._settings)
        threading.Thread(target=watch_refreshes, args=(self._stop,), daemon=True).start()
        beating = asyncio.create_task(self._heartbeat.run())
        try:
            if not await kafka.start(dead_letters, self._settings, self._stop):
                return
            self._runners = [Runner(table, self._settings, dead_letters, self._stop) for table in self._tables]
            running = {asyncio.create_task(runner.run()): runner for runner in self._runners}
            errors = await _watch(running, self._stop, until_idle)
        finally:
            beating.cancel()
            await kafka.close_within(dead_letters.stop(), CLOSE_SECONDS)
        for problem in sorted(errors, key=lambda one: isinstance(one, ConfigError)):
            raise problem


async def _watch(running: Running, stop: threading.Event, until_idle: float | None) -> list[BaseException]:
    """Wait for all tasks and return the errors that they ended with."""
    errors: list[BaseException] = []
    checked = time.monotonic()
    while running:
        done, _ = await asyncio.wait(running, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        errors += [error for task in done if (error := _take_error(running.pop(task), task, stop))]
        if stop.is_set():
            errors += await _finish(running)
        elif time.monotonic() - checked >= (LAG_SECONDS if until_idle is None else WATCH_SECONDS):
            lag = await _measure_lag(list(running.values()))
            checked = time.monotonic()
            idle = min((checked - runner.busy_at for runner in running.values()), default=0.0)
            if until_idle is not None and lag == 0 and idle >= until_idle:
                stop.set()
    return errors


def _take_error(runner: Runner, task: asyncio.Task[None], stop: threading.Event) -> BaseException | None:
    """Log the error of a table that ended, and return it. Any error but ConfigError stops all tables."""
    error = task.exception()
    if isinstance(error, ConfigError):
        log.error("sink %s ended, the other tables continue: %s", runner.table.name, error)
    elif error is not None:
        is_expected = isinstance(error, TouchlineError | KafkaError)
        log.error("sink %s failed, the process ends: %s", runner.table.name, error, exc_info=None if is_expected else error)
        stop.set()
    if isinstance(error, KafkaError):
        return RetryableError(f"sink {runner.table.name} lost Kafka: {type(error).__name__}")
    return error


async def _measure_lag(runners: list[Runner]) -> int | None:
    """Return the records that are not stored yet. Return None while a consumer starts or stops, or Kafka does not answer."""
    if not all(runner.started for runner in runners):
        return None
    try:
        async with asyncio.timeout(LAG_TIMEOUT_SECONDS):
            return sum([await runner.waiting() for runner in runners])
    except (KafkaError, TimeoutError) as error:
        log.warning("Kafka does not answer (%s); the sinks continue when it does", type(error).__name__)
        return None


async def _finish(running: Running) -> list[BaseException]:
    """Let each table finish its chunk. A table that hangs after `FINISH_SECONDS` is cancelled without a commit."""
    if not running:
        return []
    for runner in running.values():
        runner.give_up()
    _, hanging = await asyncio.wait(running, timeout=FINISH_SECONDS)
    for task in hanging:
        log.warning("sink %s hangs and is cancelled; its chunk was not committed", running[task].table.name)
        running[task].abandon()
        task.cancel()
    ended, _ = await asyncio.wait(running, timeout=CLOSE_SECONDS)
    running.clear()
    return [error for task in ended if not task.cancelled() and (error := task.exception())]
