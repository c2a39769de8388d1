"""The engine's producer on a real broker: when publish returns, all records are there in order, whatever their size."""

import asyncio
from itertools import islice

import pytest

from deploy.local.state import Stack
from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output
from streams.engine.producer import OffsetRange, Producer, Row
from tests.harness.topics import end_offsets, read_topic

pytestmark = pytest.mark.integration
MEGABYTE = 1024 * 1024


async def publish(outputs: list[Output]) -> int:
    producer = await Producer.open(KafkaSettings())
    try:
        return await producer.publish(outputs)
    finally:
        await producer.close()


async def publish_rows(rows: list[Row], prefix_bytes: int) -> OffsetRange:
    producer = await Producer.open(KafkaSettings())
    try:
        return await producer.publish_rows(DEAD_LETTERS, 0, rows, prefix_bytes)
    finally:
        await producer.close()


def test_records_larger_than_a_batch_arrive_whole_and_in_order(own_topics: Stack) -> None:
    values = [b"%d" % number for number in range(20)] + [b"L" * (6 * MEGABYTE)] + [b"S" * MEGABYTE] * 3 + [b"end"]
    begin = end_offsets(DEAD_LETTERS)[0]
    assert asyncio.run(publish([Output(DEAD_LETTERS, 0, b"k", value) for value in values])) == len(values)
    assert [record.value for record in islice(read_topic(DEAD_LETTERS, begin), len(values))] == values


def test_rows_are_acknowledged_with_the_offsets_of_the_first_and_the_last_one(own_topics: Stack) -> None:
    begin = end_offsets(DEAD_LETTERS)[0]
    rows = [(b"%016d" % number, b"x" * 400_000) for number in range(5)]
    assert asyncio.run(publish_rows(rows, 16)) == (begin, begin + 4)


@pytest.mark.parametrize(("prefix_bytes", "rejected"), [(0, False), (16, True)], ids=["single rows", "one row group"])
def test_only_a_row_group_must_fit_into_one_batch(own_topics: Stack, *, prefix_bytes: int, rejected: bool) -> None:
    rows = [(b"icrm_contact\x1fsales/%d" % number, b"x" * 400_000) for number in range(20)]
    if rejected:
        with pytest.raises(FatalError, match="one row group of"):
            asyncio.run(publish_rows(rows, prefix_bytes))
    else:
        first, last = asyncio.run(publish_rows(rows, prefix_bytes))
        assert last - first == 19


def test_record_that_the_broker_rejects_raises(own_topics: Stack) -> None:
    with pytest.raises(Exception, match="partition"):
        asyncio.run(publish([Output(DEAD_LETTERS, 99, b"k", b"no such partition")]))
