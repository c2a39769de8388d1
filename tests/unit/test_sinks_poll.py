"""A poll takes large records one by one and small ones in large steps, from whatever one fetch brought."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from sinks import kafka

PARTITION = TopicPartition("touchline.dead-letters", 0)


class Fetched:
    """A consumer that has fetched all its records; it counts the steps."""

    def __init__(self, sizes: list[int]) -> None:
        self.waiting = [SimpleNamespace(offset=offset, serialized_value_size=size) for offset, size in enumerate(sizes)]
        self.steps = 0

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.steps += 1
        taken, self.waiting = self.waiting[:max_records], self.waiting[max_records:]
        return {PARTITION: taken} if taken else {}


def poll(client: Fetched) -> list[Any]:
    return asyncio.run(kafka.poll(cast("AIOKafkaConsumer", client))).get(PARTITION, [])


@pytest.mark.parametrize("sizes", [[6 * kafka.MEGABYTE] * 50, [300, *[6 * kafka.MEGABYTE] * 50]], ids=["large", "small first"])
def test_large_records_end_the_chunk_soon(sizes: list[int]) -> None:
    found = poll(Fetched(sizes))
    assert sum(map(kafka.size, found)) <= kafka.CHUNK_BYTES + kafka.MAX_RECORD_BYTES


def test_small_records_are_taken_in_few_steps_and_in_order() -> None:
    client = Fetched([300] * 60_000)
    found = poll(client)
    assert kafka.CHUNK_RECORDS <= len(found) < kafka.CHUNK_RECORDS + kafka.STEP_RECORDS
    assert client.steps < 40
    assert [record.offset for record in [*found, *client.waiting]] == list(range(60_000))


def test_tombstones_have_no_size_and_are_taken() -> None:
    assert len(poll(Fetched([-1] * 10))) == 10
