"""Reading ahead on a real Kafka and ClickHouse: a chunk is decoded during the insert before it, and never stored earlier.

Each test has a topic of its own, whose group has never committed anything, and a table of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from sinks import chunk, kafka, runner
from sinks.clickhouse import UnexpectedError
from sinks.contract import Table, load_tables
from sinks.runner import Runner
from tests.harness.sink_faults import table_without_merges
from tests.harness.sinks import ask, ask_value, encode_record, reading
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
COUNT = 50


@pytest.fixture
def table(migrated: Stack) -> Iterator[Table]:
    """Create an empty table like that of signals, without merges, whose topic has two empty partitions."""
    name = f"ahead_{uuid4().hex}"
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    ask(f"CREATE TABLE touchline_store.{name} AS touchline_store.signals")
    try:
        admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}})
        with table_without_merges(name):
            yield load_tables()["signals"]._replace(name=name, topic=name, stored=f"touchline_store.{name}")
    finally:
        admin.close()
        ask(f"DROP TABLE touchline_store.{name}")


def publish(topic: str, partition: int) -> None:
    producer = KafkaProducer(**KafkaSettings().kafka_python())
    for _ in range(COUNT):
        producer.send(topic, encode_record("reading", reading(signal="test")), partition=partition)
    producer.close()


class Story:
    """Event for the chunk of partition 0 while that of partition 1 is read ahead, and the outcome of both."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch, trouble: Exception | None = None) -> None:
        self.table, self.trouble, self.events = table, trouble, list[str]()
        self._first = True
        self._ahead = threading.Event()
        for name in ("transform", "write"):
            monkeypatch.setattr(runner, name, getattr(self, name)(getattr(runner, name)))
        monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.1)
        monkeypatch.setattr(kafka, "POLL_MS", 5_000)  # so that what is published during the first insert is read within it

    def transform(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def transform(*given: Any) -> Any:
            chunk = real(*given)
            partitions = {record.partition for record in chunk.sources}
            self.events.append(f"decoded {partitions}")
            if partitions == {1}:
                self._ahead.set()
            return chunk

        return transform

    def write(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*given: Any) -> Any:
            if self._first:
                self._first = False
                publish(self.table.topic, 1)
                assert self._ahead.wait(20), "nothing was read ahead"
                if self.trouble:
                    raise self.trouble
            letters = real(*given)
            self.events.append(f"stored {ask_value(f'SELECT count() FROM {self.table.stored}')}")
            return letters

        return write

    async def run(self) -> dict[int, int]:
        """Return the commits of the group once all is stored."""
        stop, letters = threading.Event(), kafka.make_producer(KafkaSettings())
        await letters.start()
        working = Runner(self.table, KafkaSettings(), letters, stop)
        running = asyncio.create_task(working.run())
        publish(self.table.topic, 0)
        await asyncio.to_thread(eventually, lambda: ask_value(f"SELECT count() FROM {self.table.stored}") == 2 * COUNT)
        stop.set()
        await running
        await letters.stop()
        return committed(f"touchline-sink-{self.table.name}")


def committed(group: str) -> dict[int, int]:
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    try:
        return {partition.partition: found.offset for partition, found in admin.list_group_offsets(group)[group].items()}
    finally:
        admin.close()


def test_next_chunk_is_decoded_during_an_insert_and_stored_after_it(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(table, monkeypatch)
    assert asyncio.run(story.run()) == {0: COUNT, 1: COUNT}
    assert story.events == ["decoded {0}", "decoded {1}", "stored 50", "stored 100"]


def test_chunk_read_ahead_is_read_again_when_the_chunk_before_it_restarts(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition 1 has no commit by then, so no commit gives its position."""
    story = Story(table, monkeypatch, UnexpectedError("a code that no list has"))
    assert asyncio.run(story.run()) == {0: COUNT, 1: COUNT}
    assert story.events == ["decoded {0}", "decoded {1}", "decoded {0}", "stored 50", "decoded {1}", "stored 100"]
    assert ask_value(f"SELECT count() = uniqExact(reading_id) FROM {table.stored}") == 1


def widen(topic: str) -> None:
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    admin.create_partitions({topic: 3})
    admin.close()


def test_chunk_abandoned_by_a_rebalance_before_its_intent_is_read_again(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk read ahead is in the same partition, which has no commit."""
    real, stuck, ahead, workers = Runner._store_new, threading.Event(), threading.Event(), list[Runner]()

    async def begin(self: Runner, decoded: runner.Decoded) -> None:
        if not stuck.is_set():
            stuck.set()
            await asyncio.to_thread(publish, self.table.topic, 0)
            await asyncio.sleep(60)
        await real(self, decoded)

    def transform(*given: Any) -> Any:
        if stuck.is_set() and not ahead.is_set():
            ahead.set()
            eventually(lambda: workers[0]._ownership.generation == 2)
        return chunk.transform(*given)

    monkeypatch.setattr(runner, "transform", transform)
    monkeypatch.setattr(Runner, "_store_new", begin)
    monkeypatch.setattr(kafka, "POLL_MS", 5_000)

    async def story() -> None:
        stop, letters = threading.Event(), kafka.make_producer(KafkaSettings())
        await letters.start()
        workers.append(Runner(table, KafkaSettings(), letters, stop))
        running = asyncio.create_task(workers[0].run())
        publish(table.topic, 0)
        await asyncio.to_thread(eventually, ahead.is_set)
        await asyncio.to_thread(widen, table.topic)  # a rebalance assigns all partitions to the one member
        await asyncio.to_thread(eventually, lambda: ask_value(f"SELECT count() FROM {table.stored}") == 2 * COUNT)
        stop.set()
        await running
        await letters.stop()

    asyncio.run(story())
    assert committed(f"touchline-sink-{table.name}")[0] == 2 * COUNT
