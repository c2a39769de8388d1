"""Outputs that did not reach the broker, and the commit of their offsets. Outputs go to a real Kafka."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import faust
import pytest
from kafka import KafkaAdminClient

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from streams.contract import Output
from streams.engine.producer import Producer
from tests.harness.topics import end_offsets
from tests.losses.line import Partition, running
from tests.losses.work import Work, value

SMALL, LARGE = 10, 2_000


@pytest.fixture
def admin(stack: Stack) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(**KafkaSettings().kafka_python())
    yield client
    client.close()


def create(admin: KafkaAdminClient, topic: str) -> None:
    configs = {"max.message.bytes": "1000"}
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1, "configs": configs}})


def noise(size: int) -> bytes:
    """Return incompressible bytes."""
    return random.Random(7).randbytes(size)


class Stock(Work):
    """Work that sends into the producer's buffer and does not wait, as Faust's tables and examples do."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__()
        self.topic, self.payload = topic, noise(size)

    async def open(self, app: Any) -> None:
        self.producer = app.producer
        self.channel = app.topic(self.topic, value_serializer="raw")
        await app.producer.start()

    async def send(self, number: int) -> None:
        self.channel.send_soon(value=self.payload, partition=0)
        await super().send(number)

    async def close(self) -> None:
        await self.producer.stop()


class Ours(Work):
    """Work that sends with the engine's producer."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__()
        self.topic, self.payload = topic, noise(size)

    async def open(self, app: Any) -> None:
        self.producer = await Producer.open(KafkaSettings())

    async def send(self, number: int) -> None:
        await self.producer.publish([Output(self.topic, 0, b"k", self.payload)])
        await super().send(number)

    async def close(self) -> None:
        await self.producer.close()


ENGINES = {"stock": Stock, "ours": Ours}


# engine, records: committed offset while no output can leave, because the topic does not exist yet
FLUSHES = [("stock", 1, 1), ("stock", 50, 50), ("ours", 1, None), ("ours", 50, None)]


@pytest.mark.integration
@pytest.mark.parametrize(("engine", "records", "committed"), FLUSHES)
def test_offset_waits_for_outputs_that_cannot_leave_yet(
    engine: str, records: int, committed: int | None, admin: KafkaAdminClient
) -> None:
    topic = f"flush-{engine}-{records}"

    async def scenario() -> None:
        work = ENGINES[engine](topic, SMALL)
        source = Partition([value(number) for number in range(records)])
        async with running(engine, source, work, broker=KafkaSettings().bootstrap_servers) as line:
            await line.until(lambda: engine == "ours" or len(work.sent) == records)
            await line.settle()
            assert await line.commit() == committed
            await asyncio.to_thread(create, admin, topic)
            await line.until(lambda: len(work.sent) == records, seconds=20)
            await line.settle()
            assert await line.commit() == records

    asyncio.run(scenario())


@pytest.mark.integration
@pytest.mark.parametrize(("engine", "committed", "ended"), [("stock", 3, False), ("ours", None, True)])
def test_offset_of_a_rejected_output_is_not_committed(
    engine: str, committed: int | None, admin: KafkaAdminClient, *, ended: bool
) -> None:
    topic = f"rejected-{engine}"
    create(admin, topic)

    async def scenario() -> None:
        work = ENGINES[engine](topic, LARGE)
        source = Partition([value(number) for number in range(3)])
        async with running(engine, source, work, broker=KafkaSettings().bootstrap_servers) as line:
            await line.until(lambda: line.ended or len(work.sent) == 3, seconds=20)
            await line.settle()
            assert (await line.commit(), line.ended) == (committed, ended)

    asyncio.run(scenario())
    assert end_offsets(topic)[0] == 0


def test_exactly_once_mode_sends_output_only_topics_outside_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such outputs stay after a crash and are then repeated, so the engine uses no Kafka transactions."""
    sent = []

    async def scenario() -> None:
        app: Any = faust.App("transactions", broker="kafka://localhost:1", processing_guarantee="exactly_once")
        consumer = app.consumer
        consumer._thread.thread_loop.close()

        async def send(*_record: object, transactional_id: str | None) -> None:
            sent.append(transactional_id)

        monkeypatch.setattr(consumer, "key_partition", lambda *_: None)  # as for a topic that the consumer does not read
        monkeypatch.setattr(consumer.transactions.producer, "send", send)
        await consumer.transactions.send("output", b"k", b"v", None, None, None)

    asyncio.run(scenario())
    assert sent == [None]
