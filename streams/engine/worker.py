"""Worker: build the Faust app from the chain's steps and run it, as `touchline work` does."""

import asyncio
import fcntl
import gc
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, cast

import faust
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.types.auth import CredentialsT

import streams.engine.store
import streams.engine.transport
from schemas.errors import ConfigError
from schemas.service import telemetry
from schemas.service.connection import KafkaConnection, KafkaSettings
from schemas.service.exit_codes import DONE, FATAL
from schemas.service.health import Heartbeat
from schemas.service.process import start_last_resort
from schemas.service.settings import ProcessSettings
from schemas.wire.topics import TOPICS
from streams.contract import Step
from streams.engine.crashes import FILE, CrashLog
from streams.engine.producer import Producer
from streams.engine.replica import Replica
from streams.engine.stage import Stage
from streams.engine.store import Store
from streams.engine.ticks import Ticks
from streams.engine.transport import ChunkSchema, Consumer
from streams.engine.watchdog import Watchdog, WatchedItem, watch_event_loop

log = logging.getLogger(__name__)
GROUP = "touchline-work"
MIN_REPEAT_SECONDS = 10.0
LOAD_CHECK_SECONDS = 0.1
MAX_FETCH_BYTES = 4 * 1024 * 1024  # per partition; a larger single batch still arrives whole
RECOVERY_CHUNKS = 4  # buffered before a write; Faust's default is 1,000, and with 1 it keeps reading after the recovery
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


class Assignor(PartitionAssignor):
    """Assignor that never leaves out a topic.

    A broker that has just started may not list all topics yet. Topics that the group leader leaves out have no worker until
    the next metadata refresh, five minutes later. The leader therefore ends its process, and the supervisor restarts it.
    """

    @classmethod
    def _get_copartitioned_groups(cls, topics: Any, cluster: Any, subscriptions: Any) -> Any:
        missing = sorted(topic for topic in topics if not cluster.partitions_for_topic(topic))
        if missing:
            log.critical("Kafka does not list %d topics yet, for example %s; the process ends", len(missing), missing[0])
            os._exit(FATAL)
        return super()._get_copartitioned_groups(topics, cluster, subscriptions)


class App(faust.App):
    """Faust app that opens its producer before the first agent starts, and closes it after the last one has ended."""

    output_producer: Producer
    _isolated_producer: Producer | None = None

    def prepare(self, steps: Sequence[Step], settings: KafkaSettings, replicas: Sequence[Replica], tick_seconds: int) -> None:
        """Set the parts that the app needs before it starts. The constructor belongs to Faust."""
        self._steps = steps
        self._settings = settings
        self._replicas = replicas
        self._tick_seconds = tick_seconds
        self._not_ready = "starting"
        self._heartbeat = Heartbeat()
        telemetry.LOOP_LAG.set_function(self._heartbeat.lag)

    def check_live(self) -> str:
        """Return why this worker needs a restart, or an empty text. Any thread may call it, and `check_ready` too."""
        return self._heartbeat.check_live()

    def check_ready(self) -> str:
        """Return why this worker does not process yet, or an empty text.

        It processes once its copies are loaded and its partitions (possibly none) are recovered.
        """
        return self._not_ready

    def recovery_remaining(self) -> int:
        """Return the number of records that must still be read before the start: of changelogs and of copied topics."""
        copies = sum(replica.remaining() for replica in self._replicas)
        return copies + max(0, cast(TableManager, self.tables).recovery.active_remaining_total())

    def committed_offsets(self) -> dict[WatchedItem, int]:
        """Return the committed offset of each assigned partition."""
        consumer = cast(Consumer, self.consumer)
        return {
            WatchedItem(step.name, *tp): offset
            for step in self._steps
            for tp, offset in consumer.committed_offsets(step.topics).items()
        }

    async def on_start(self) -> None:
        self.add_future(self._heartbeat.run())
        self.add_future(Watchdog(self, self._steps, self._settings).run())
        Thread(target=watch_event_loop, args=[self._heartbeat], name="watch-event-loop", daemon=True).start()
        self.output_producer = await Producer.open(self._settings)
        for replica in self._replicas:
            self.add_future(replica.follow(self._settings))
        await self._load_copies()
        if self._tick_seconds:
            self.add_future(Ticks(self, self._tick_seconds, self._settings).run(self.output_producer))
        self.add_future(self._update_metrics())
        await super().on_start()

    async def _load_copies(self) -> None:
        """Wait until each copy has reached the end of its topic.

        The consumer starts afterwards, so this worker takes no partition from others meanwhile.
        """
        for replica in self._replicas:
            remaining = telemetry.COPY_REMAINING.labels(replica.topic)
            while not (replica.is_loaded or self.should_stop):
                self._not_ready = f"{replica.name}: {replica.progress()} %"
                remaining.set(replica.remaining())
                await asyncio.sleep(LOAD_CHECK_SECONDS)
            remaining.set(replica.remaining())

    async def on_stop(self) -> None:
        """Finish and commit the chunks in flight. While Kafka is unreachable, end the process at the time-out."""
        start_last_resort()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        await self.output_producer.close()
        if self._isolated_producer:
            await self._isolated_producer.close()

    async def open_isolated_producer(self) -> Producer:
        """Return the producer for chunks in isolation, which is opened at first use."""
        if self._isolated_producer is None:
            self._isolated_producer = await Producer.open(self._settings, is_idempotent=False)
        return self._isolated_producer

    async def _update_metrics(self) -> None:
        """Update the lag of each stage and the remaining recovery once a second."""
        while not self.should_stop:
            await self.sleep(1.0)
            remaining = self.recovery_remaining()
            is_recovering = self.rebalancing or not cast(TableManager, self.tables).recovery.completed.is_set()
            self._not_ready = (
                f"partitions are being assigned, {remaining} changelog records are left to read" if is_recovering else ""
            )
            telemetry.RECOVERY.set(remaining)
            for step in self._steps:
                behind, seconds = cast(Consumer, self.consumer).measure_lag(step.topics)
                telemetry.LAG.labels(step.name).set(behind)
                telemetry.LAG_SECONDS.labels(step.name).set(seconds)


def build_app(
    steps: Sequence[Step], replicas: Sequence[Replica], settings: KafkaSettings, folder: Path, tick_seconds: int = 0
) -> App:
    """Return the app: one agent per step, one table per step with state. With `tick_seconds` 0 it sends no ticks."""
    app = App(
        GROUP,
        broker=f"{streams.engine.transport.SCHEME}://{settings.bootstrap_servers.replace(',', ';')}",
        broker_credentials=faust_credentials(settings),
        store=f"{streams.engine.store.SCHEME}://",
        datadir=str(folder),
        topic_partitions=max(PARTITIONS.values()),
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_FETCH_BYTES,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=1.0,
        broker_max_poll_records=50_000,
        stream_buffer_maxsize=8,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        PartitionAssignor=Assignor,
    )
    app.prepare(steps, settings, replicas, tick_seconds)
    crashes = CrashLog(folder / FILE, is_restarted=ProcessSettings().restarts > 0)
    for step in steps:
        _add_step(app, step, crashes)
    return app


def _add_step(app: App, step: Step, crashes: CrashLog) -> None:
    partitions = PARTITIONS[step.topics[0]]
    store: Callable[[], Store] | None = None
    if step.table:
        changelog = app.topic(step.changelog, schema=ChunkSchema(), partitions=partitions, acks=False)
        table = app.Table(
            step.table,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            changelog_topic=changelog,
            recovery_buffer_size=RECOVERY_CHUNKS,
        )

        def store() -> Store:
            data = table.data
            assert isinstance(data, Store)
            return data

    stage = Stage(step, store, lambda: app.output_producer, crashes, app.open_isolated_producer)

    async def agent(stream: Any) -> None:
        await stage.run(stream)

    app.agent(app.topic(*step.topics, schema=ChunkSchema(), partitions=partitions), name=step.name)(agent)


def faust_credentials(settings: KafkaConnection) -> CredentialsT | None:
    """Return the arguments of an aiokafka client in Faust's form; Faust turns them back into the same arguments."""
    arguments = settings.aiokafka()
    context = arguments.get("ssl_context")
    if provider := arguments.get("sasl_oauth_token_provider"):
        return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if settings.is_sasl:
        return faust.SASLCredentials(
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            ssl_context=context,
            mechanism=arguments["sasl_mechanism"],
        )
    return faust.SSLCredentials(context) if context else None


class RepeatFilter(logging.Filter):
    """Log filter that passes each kind of message once in ten seconds. Clients repeat messages while Kafka is unreachable."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = str(record.msg)
        if record.created - self._logged_at.get(kind, 0.0) < MIN_REPEAT_SECONDS:
            return False
        self._logged_at[kind] = record.created
        return True


def run_app(app: App) -> None:
    """Work until SIGTERM or SIGINT. Exit code 0 is a graceful stop, 70 a crash."""
    worker = faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True)
    worker.spinner = None
    logging.getLogger("streams").setLevel(logging.INFO)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]:
        logging.getLogger(name).addFilter(RepeatFilter())
    reduce_garbage_collection()
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        raise SystemExit(FATAL if stop.code else DONE) from stop


def reduce_garbage_collection() -> None:
    """Raise the thresholds of Python's cycle collector: a chunk has tens of thousands of objects without cycles.

    With the default thresholds, the collector took 5 % of the chain's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def lock_folder(folder: Path) -> Any:
    """Lock a worker's folder for this process; keep the returned file open. Raises ConfigError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"cannot write to the worker's folder {folder} ({error.strerror}): change its owner or rights, or set TOUCHLINE_HOME"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(f"another worker uses {folder}: give this one its own --name") from error
    return lock
