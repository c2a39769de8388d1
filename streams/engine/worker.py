"""Builds the Faust app from the chain's steps and runs it: what `touchline work` is."""

import fcntl
import gc
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread, Timer
from typing import Any, cast

import faust
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.types.auth import CredentialsT

import streams.engine.store
import streams.engine.transport
from schemas.errors import ConfigError
from schemas.service import telemetry
from schemas.service.connection import KafkaSettings
from schemas.service.health import Heartbeat
from schemas.wire.topics import TOPICS
from streams.contract import Step
from streams.engine.producer import Producer
from streams.engine.replica import Replica
from streams.engine.stage import EXIT, Stage
from streams.engine.store import Store
from streams.engine.ticks import Ticks
from streams.engine.transport import ChunkSchema, Consumer
from streams.engine.watchdog import Place, Watch, watch_loop

log = logging.getLogger(__name__)
GROUP = "touchline-work"
REPEAT_SECONDS = 10.0
FETCH_BYTES = 4 * 1024 * 1024  # of a partition, or one batch where that is larger
LEAVE_WITHIN = 9.0
EXIT_BROKEN_OFF = 75
RECOVERY_CHUNKS = 4  # in memory before they are written; Faust's default is 1,000 (and 1 makes it go on reading afterwards)
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


class Assignor(PartitionAssignor):
    """Faust's, but it leaves no topic out: a broker that was just started may not name its topics yet, and what the leader of the
    group leaves out nobody works on until its metadata is refreshed, five minutes later."""

    @classmethod
    def _get_copartitioned_groups(cls, topics: Any, cluster: Any, subscriptions: Any) -> Any:
        missing = sorted(topic for topic in topics if not cluster.partitions_for_topic(topic))
        if missing:
            log.critical("Kafka does not name %d topics yet, %s first; the process ends", len(missing), missing[0])
            os._exit(EXIT)
        return super()._get_copartitioned_groups(topics, cluster, subscriptions)


class App(faust.App):
    """A Faust app that opens its way out to Kafka before the first agent starts, and closes it after the last one."""

    output_producer: Producer

    def prepare(self, steps: Sequence[Step], settings: KafkaSettings, replicas: Sequence[Replica], tick_seconds: int) -> None:
        """What the app needs before it starts; Faust owns the constructor."""
        self._steps = steps
        self._settings = settings
        self._replicas = replicas
        self._tick_seconds = tick_seconds
        self._not_ready = "starting"
        self._heartbeat = Heartbeat()
        telemetry.LOOP_LAG.set_function(self._heartbeat.lag)

    def live(self) -> str:
        """Why this worker should be started again, or nothing; may be asked from any thread, like `ready`."""
        return self._heartbeat.live()

    def ready(self) -> str:
        """Why this worker does not work yet, or nothing: its share of the partitions, none at all included, is recovered."""
        return self._not_ready

    def recovery_remaining(self) -> int:
        """Changelog records that are still to be read before work begins."""
        return max(0, cast(TableManager, self.tables).recovery.active_remaining_total())

    def committed(self) -> dict[Place, int]:
        """The committed offset of each partition that this worker has."""
        consumer = cast(Consumer, self.consumer)
        return {Place(step.name, *tp): offset for step in self._steps for tp, offset in consumer.committed(step.topics).items()}

    async def on_start(self) -> None:
        self.add_future(self._heartbeat.run())
        self.add_future(Watch(self, self._steps, self._settings).run())
        Thread(target=watch_loop, args=[self._heartbeat], name="watch-loop", daemon=True).start()
        self.output_producer = await Producer.open(self._settings)
        for replica in self._replicas:
            self.add_future(replica.follow(self._settings))
        if self._tick_seconds:
            self.add_future(Ticks(self, self._tick_seconds, self._settings).run(self.output_producer))
        self.add_future(self._watch())
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish what the stages have in hand and commit it; while Kafka is away that cannot end, and must not hold us up."""
        last_resort = Timer(LEAVE_WITHIN, os._exit, [EXIT_BROKEN_OFF])
        last_resort.daemon = True
        last_resort.start()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        await self.output_producer.close()

    async def _watch(self) -> None:
        """What ops watch, once a second: the lag of each stage, and rows still to recover."""
        while not self.should_stop:
            await self.sleep(1.0)
            remaining = self.recovery_remaining()
            waits = self.rebalancing or not cast(TableManager, self.tables).recovery.completed.is_set()
            self._not_ready = f"partitions are shared out, {remaining} changelog records are to be read" if waits else ""
            telemetry.RECOVERY.set(remaining)
            for step in self._steps:
                behind, seconds = cast(Consumer, self.consumer).lag(step.topics)
                telemetry.LAG.labels(step.name).set(behind)
                telemetry.LAG_SECONDS.labels(step.name).set(seconds)


def build(
    steps: Sequence[Step], replicas: Sequence[Replica], settings: KafkaSettings, folder: Path, tick_seconds: int = 0
) -> App:
    """The app: one agent a step, one table a step with state, everything else Faust's own; no ticks where they come every 0 s."""
    app = App(
        GROUP,
        broker=f"{streams.engine.transport.SCHEME}://{settings.bootstrap_servers.replace(',', ';')}",
        broker_credentials=credentials(settings),
        store=f"{streams.engine.store.SCHEME}://",
        datadir=str(folder),
        topic_partitions=max(PARTITIONS.values()),
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
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
    for step in steps:
        _add(app, step)
    return app


def _add(app: App, step: Step) -> None:
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

    stage = Stage(step, store, lambda: app.output_producer)

    async def agent(stream: Any) -> None:
        await stage.run(stream)

    app.agent(app.topic(*step.topics, schema=ChunkSchema(), partitions=partitions), name=step.name)(agent)


def credentials(settings: KafkaSettings) -> CredentialsT | None:
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


class Seldom(logging.Filter):
    """Lets each kind of message through once in ten seconds: a client says the same many times a second while Kafka is away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = str(record.msg)
        if record.created - self._said.get(kind, 0.0) < REPEAT_SECONDS:
            return False
        self._said[kind] = record.created
        return True


def run(app: App) -> None:
    """Work until SIGTERM or SIGINT; ends the process with 0 after a graceful stop, 70 after a crash."""
    worker = faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True)
    worker.spinner = None
    logging.getLogger("streams").setLevel(logging.INFO)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]:
        logging.getLogger(name).addFilter(Seldom())
    collect_seldom()
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        raise SystemExit(EXIT if stop.code else 0) from stop


def collect_seldom() -> None:
    """Let Python look for cycles seldom: a chunk is tens of thousands of objects, none of them in a cycle.

    Measured in memory: with Python's own thresholds a twentieth of the chain's time, and a third of decoding in the sinks, went
    into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def claim(folder: Path) -> Any:
    """Take a worker's folder for this process alone; keep the returned file open. Raises ConfigError when it is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(f"another worker uses {folder}: give this one its own --name") from error
    return lock
