"""Is a variant's answer right? A benchmark of a wrong answer is worthless.

Every touchpoint must have led to one output, every customer's outputs must count from one on without a gap, and the last
output as well as the last row in the changelog must equal what plain Python makes of the same touchpoints.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.errors import FatalError
from schemas.settings import KafkaSettings
from schemas.topics import PARTITIONS
from streams.engine.outbox import aiokafka_options
from tests.bench.plain.fold import Row, decode

Rows = dict[bytes, Row]
RowOf = Callable[[Any], tuple[bytes, bytes] | None]


async def check(name: str, expected: Rows, outputs: str, changelog: str, row_of: RowOf) -> None:
    """Raise FatalError where the outputs or the changelog of variant `name` differ from `expected`.

    `row_of` gives customer key and row bytes of a changelog record, or None for a record that is no row.
    """
    seen: Rows = {}
    async for record in read(outputs):
        row = decode(record.value)
        if row.count != seen.get(record.key, Row()).count + 1:
            raise FatalError(f"{name}: {outputs}/{record.partition}/{record.offset} counts {row.count}: one is missing or twice")
        seen[record.key] = row
    compare(name, outputs, expected, seen)
    kept: Rows = {}
    async for record in read(changelog):
        found = row_of(record)
        if found is not None:
            kept[found[0]] = decode(found[1])
    compare(name, changelog, expected, kept)


def compare(name: str, topic: str, expected: Rows, found: Rows) -> None:
    """Raise FatalError unless every customer is there, with the same row."""
    wrong = sum(found.get(key) != row for key, row in expected.items()) + len(found.keys() - expected.keys())
    if wrong:
        raise FatalError(f"{name}: {wrong} of {len(expected)} customers in {topic} are not what plain Python makes of them")


async def read(topic: str) -> AsyncIterator[Any]:
    """Every record that the topic has now, in the order of each partition."""
    consumer = AIOKafkaConsumer(**aiokafka_options(KafkaSettings()), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(each) < end for each, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500, max_records=20_000)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()
