"""All tables of one process: start them, watch them, and end together."""

import asyncio
import gc
import logging
import threading
import time

from aiokafka.errors import KafkaError

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.connection import KafkaSettings
from schemas.service.health import Heartbeat
from schemas.service.kafka_probe import diagnose_kafka
from schemas.service.telemetry import LOOP_LAG
from sinks import kafka
from sinks.contract import Table
from sinks.refreshes import watch
from sinks.runner import Runner

LOOK_EVERY = 1.0
IDLE_LOOK_EVERY = 10.0
LOOK_WITHIN = 5.0
GRACE = 6.0
LEAVE_WITHIN = 2.0
# Python looks for cycles after every 700 new objects. A chunk is hundreds of thousands of them, all in use and none in a cycle:
# 1.07 million records took 34.7 s of processor time with that, and take 24.4 s with this.
COLLECT_AFTER = (20_000, 50, 100)
log = logging.getLogger(__name__)
Running = dict[asyncio.Task[None], Runner]


class Sinks:
    """All tables of one process, until `stop`. `live` and `ready` say why not, or nothing, and may be asked from any thread."""

    def __init__(self, tables: list[Table], settings: KafkaSettings, stop: threading.Event) -> None:
        self._tables = tables
        self._settings = settings
        self._stop = stop
        self._runners: list[Runner] = []
        self._heartbeat = Heartbeat()
        self.live = self._heartbeat.live
        LOOP_LAG.set_function(self._heartbeat.lag)

    def ready(self) -> str:
        """Every table reads its topic."""
        reading = {runner.table.name for runner in self._runners if runner.started}
        missing = [table.name for table in self._tables if table.name not in reading]
        return f"not reading yet: {', '.join(missing)}" if missing else ""

    async def run(self, until_idle: float | None = None) -> None:
        """Store until `stop`, or until nothing was left to store for `until_idle` seconds.

        A misconfigured table ends alone and the others go on; any other error ends all. The first error is raised at the end.
        """
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        letters = kafka.producer(self._settings)
        threading.Thread(target=watch, args=(self._stop,), daemon=True).start()
        beating = asyncio.create_task(self._heartbeat.run())
        try:
            await letters.start()
            self._runners = [Runner(table, self._settings, letters, self._stop) for table in self._tables]
            running = {asyncio.create_task(runner.run()): runner for runner in self._runners}
            errors = await _watch(running, self._stop, until_idle)
        except KafkaError as error:
            unknown = f"no Kafka broker answers at {self._settings.bootstrap_servers} ({type(error).__name__})"
            raise await asyncio.to_thread(diagnose_kafka, self._settings) or RetryableError(unknown) from error
        finally:
            beating.cancel()
            await kafka.closed(letters.stop(), LEAVE_WITHIN)
        for problem in sorted(errors, key=lambda one: isinstance(one, ConfigError)):
            raise problem


async def _watch(running: Running, stop: threading.Event, until_idle: float | None) -> list[BaseException]:
    """Wait for all tasks; returns the errors they ended with."""
    errors: list[BaseException] = []
    looked = time.monotonic()
    while running:
        done, _ = await asyncio.wait(running, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
        errors += [error for task in done if (error := _ended(running.pop(task), task, stop))]
        if stop.is_set():
            errors += await _leave(running)
        elif time.monotonic() - looked >= (IDLE_LOOK_EVERY if until_idle is None else LOOK_EVERY):
            waiting = await _waiting(list(running.values()))
            looked = time.monotonic()
            quiet = min((looked - runner.busy_at for runner in running.values()), default=0.0)
            if until_idle is not None and waiting == 0 and quiet >= until_idle:
                stop.set()
    return errors


def _ended(runner: Runner, task: asyncio.Task[None], stop: threading.Event) -> BaseException | None:
    error = task.exception()
    if isinstance(error, ConfigError):
        log.error("sink %s ended, the other tables go on: %s", runner.table.name, error)
    elif error is not None:
        known = isinstance(error, TouchlineError | KafkaError)
        log.error("sink %s failed, the process ends: %s", runner.table.name, error, exc_info=None if known else error)
        stop.set()
    if isinstance(error, KafkaError):
        return RetryableError(f"sink {runner.table.name} cannot go on with Kafka: {type(error).__name__}")
    return error


async def _waiting(runners: list[Runner]) -> int | None:
    """Records that no one has stored yet, or None where Kafka does not say; a consumer that is stopped meanwhile never does."""
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            return sum([await runner.waiting() for runner in runners])
    except (KafkaError, TimeoutError) as error:
        log.warning("Kafka does not answer (%s); going on when it does", type(error).__name__)
        return None


async def _leave(running: Running) -> list[BaseException]:
    """Let each table finish its chunk; what still hangs after `GRACE` is broken off without a commit."""
    if not running:
        return []
    for runner in running.values():
        runner.give_up()
    _, hanging = await asyncio.wait(running, timeout=GRACE)
    for task in hanging:
        log.warning("sink %s hangs and is broken off; its chunk was not committed", running[task].table.name)
        running[task].abandon()
        task.cancel()
    ended, _ = await asyncio.wait(running, timeout=LEAVE_WITHIN)
    running.clear()
    return [error for task in ended if not task.cancelled() and (error := task.exception())]
