"""Many concurrent sends to one partition. aiokafka subtracts the waiting time of earlier batches from each time-out."""

import asyncio
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.structs import RecordMetadata, TopicPartition

from streams.contract import Output
from streams.engine.producer import Producer

TP = TopicPartition("t", 0)
SENDERS, TIMEOUT_SECONDS, BATCH_SECONDS = 30, 3.0, 0.03


class FakeClient:
    """aiokafka's own queue of batches. The broker takes one every 30 ms, so all are sent after 0.9 s of 3."""

    def __init__(self) -> None:
        self.queue = MessageAccumulator(ClusterMetadata(), 2**20, 0, 60)
        self.producer = Producer(self)

    def create_batch(self) -> Any:
        return self.queue.create_builder()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        return await self.queue.add_batch(batch, TopicPartition(topic, partition), TIMEOUT_SECONDS)

    async def broker(self) -> None:
        for offset in range(SENDERS):
            await asyncio.sleep(BATCH_SECONDS)
            if not self.queue._batches.get(TP):
                return
            batch = self.queue._batches[TP].popleft()
            if not self.queue._batches[TP]:
                del self.queue._batches[TP]
            batch.drain_ready()
            batch.future.set_result(RecordMetadata(TP.topic, TP.partition, TP, offset, -1, 0, 0))


async def stock(client: FakeClient, number: int) -> None:
    batch = client.create_batch()
    batch.append(key=b"", value=b"%d" % number, timestamp=None)
    await (await client.send_batch(batch, TP.topic, partition=TP.partition))


async def ours(client: FakeClient, number: int) -> None:
    await client.producer.publish([Output(TP.topic, TP.partition, b"", b"%d" % number)])


@pytest.mark.parametrize(("send", "timeouts"), [(stock, "some"), (ours, "none")], ids=["aiokafka", "ours"])
def test_waiting_send_does_not_time_out_early(send: Any, timeouts: str) -> None:
    async def send_all() -> list[Any]:
        client = FakeClient()
        broker = asyncio.create_task(client.broker())
        results = await asyncio.gather(*(send(client, number) for number in range(SENDERS)), return_exceptions=True)
        broker.cancel()
        return results

    timed_out = [each for each in asyncio.run(send_all()) if isinstance(each, KafkaTimeoutError)]
    assert ("some" if timed_out else "none") == timeouts
