"""Check of a variant's answers, because a benchmark of a wrong answer is worthless.

Each touchpoint must have one output, and each customer's outputs must count from one without a gap. The last output and the
last row in the changelog must equal the result of plain Python.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import PARTITIONS
from tests.bench.plain.fold import Row, decode

Rows = dict[bytes, Row]
RowOf = Callable[[Any], tuple[bytes, bytes] | None]


async def check(name: str, expected: Rows, outputs: str, changelog: str, row_of: RowOf) -> None:
    """Raise FatalError if the outputs or the changelog of variant `name` differ from `expected`.

    `row_of` returns customer key and row bytes of a changelog record, or None for any other record.
    """
    seen: Rows = {}
    async with aclosing(read(outputs)) as records:
        async for record in records:
            row = decode(record.value)
            if row.count != seen.get(record.key, Row()).count + 1:
                place = f"{outputs}/{record.partition}/{record.offset}"
                raise FatalError(f"{name}: {place} counts {row.count}: an output is missing or repeated")
            seen[record.key] = row
    compare(name, outputs, expected, seen)
    kept = dict([found async for record in read(changelog) if (found := row_of(record))])
    compare(name, changelog, expected, {key: decode(row) for key, row in kept.items()})


def compare(name: str, topic: str, expected: Rows, found: Rows) -> None:
    """Raise FatalError unless both hold the same customers with the same rows."""
    customers = expected.keys() | found.keys()
    wrong = sum(expected.get(key) != found.get(key) for key in customers)
    if wrong:
        raise FatalError(f"{name}: {wrong} of {len(customers)} customers in {topic} differ from the result of plain Python")


async def read(topic: str) -> AsyncGenerator[Any, None]:
    """Yield every record that the topic has now, in the order of each partition."""
    consumer = AIOKafkaConsumer(**KafkaSettings().aiokafka(), enable_auto_commit=False, auto_offset_reset="earliest")
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
