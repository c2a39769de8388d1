"""The engine's way out on the real broker: whatever its size, a record is there, in order, when publish returns."""

import asyncio

import pytest

from deploy.local.state import Stack
from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output
from streams.engine.producer import Producer
from tests.harness.topics import end_offsets, read_topic

pytestmark = pytest.mark.integration
MEGABYTE = 1024 * 1024


def test_records_larger_than_a_batch_arrive_whole_and_in_order(own_topics: Stack) -> None:
    values = [b"%d" % number for number in range(20)] + [b"L" * (6 * MEGABYTE)] + [b"S" * MEGABYTE] * 3 + [b"end"]
    begin = end_offsets(DEAD_LETTERS)[0]

    async def publish() -> int:
        producer = await Producer.open(KafkaSettings())
        try:
            return await producer.publish(Output(DEAD_LETTERS, 0, b"k", value) for value in values)
        finally:
            await producer.close()

    assert asyncio.run(publish()) == len(values)
    assert [record.value for record in read_topic(DEAD_LETTERS, begin)] == values


def test_rows_are_acknowledged_with_the_offsets_of_the_first_and_the_last_one(own_topics: Stack) -> None:
    begin = end_offsets(DEAD_LETTERS)[0]

    async def publish() -> tuple[int, int]:
        producer = await Producer.open(KafkaSettings())
        try:
            return await producer.publish_rows(DEAD_LETTERS, 0, [(b"%016d" % n, b"x" * 400_000) for n in range(5)], 16)
        finally:
            await producer.close()

    assert asyncio.run(publish()) == (begin, begin + 4)


@pytest.mark.parametrize(("prefix_bytes", "refused"), [(0, False), (16, True)], ids=["each by itself", "one row group"])
def test_only_rows_that_belong_together_must_fit_into_one_batch(own_topics: Stack, *, prefix_bytes: int, refused: bool) -> None:
    rows = [(b"icrm_contact\x1fsales/%d" % number, b"x" * 400_000) for number in range(15)]

    async def publish() -> tuple[int, int]:
        producer = await Producer.open(KafkaSettings())
        try:
            return await producer.publish_rows(DEAD_LETTERS, 0, rows, prefix_bytes)
        finally:
            await producer.close()

    if refused:
        with pytest.raises(FatalError, match="one row group of"):
            asyncio.run(publish())
    else:
        first, last = asyncio.run(publish())
        assert last - first == 14


def test_a_record_that_the_broker_refuses_raises(own_topics: Stack) -> None:
    async def publish() -> None:
        producer = await Producer.open(KafkaSettings())
        try:
            await producer.publish([Output(DEAD_LETTERS, 99, b"k", b"no such partition")])
        finally:
            await producer.close()

    with pytest.raises(Exception, match="partition"):
        asyncio.run(publish())
