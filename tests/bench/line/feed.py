"""`python -m tests.bench.line.feed RUN FIRST COUNT [RATE]`: publish a part of the workload as a burst or at a steady rate.

Burst: encode all records, print the mark `first`, then send them (acks=all) as fast as Kafka accepts them. Steady rate: encode
each record right before it is sent, so that its `received_at` is true. The last line, after all acknowledgements, holds the
processor seconds since `first`.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from zlib import crc32

from aiokafka import AIOKafkaProducer

from schemas.service.connection import KafkaSettings
from schemas.wire.topics import PARTITIONS
from tests.bench.line.life import Sent, touchpoints
from tests.bench.marks import mark

MAX_RECORDS_AT_ONCE = 5_000
PARTS_PER_SECOND = 20


async def send(producer: AIOKafkaProducer, records: Sequence[Sent]) -> None:
    """Send one batch per partition and wait for the acknowledgements. The key decides the partition."""
    batches: defaultdict[tuple[str, int], list[Sent]] = defaultdict(list)
    for each in records:
        batches[each.topic, crc32(each.key) % PARTITIONS].append(each)
    waiting = []
    for (topic, partition), batch in batches.items():
        builder = producer.create_batch()
        for each in batch:
            builder.append(key=each.key, value=each.value, timestamp=None)
        waiting.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*waiting)


async def send_burst(producer: AIOKafkaProducer, records: Sequence[Sent]) -> None:
    for start in range(0, len(records), MAX_RECORDS_AT_ONCE):
        await send(producer, records[start : start + MAX_RECORDS_AT_ONCE])


async def send_steadily(producer: AIOKafkaProducer, records: Iterator[Sent], count: int, rate: int) -> None:
    """Send `rate` records per second in twenty parts, like a producer with a linger time."""
    begin, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - begin) * rate))
        await send(producer, list(islice(records, due - sent)))
        sent = due
        await asyncio.sleep(1 / PARTS_PER_SECOND)


def start() -> float:
    mark("first")
    return time.process_time()


async def main(run: str, first: int, count: int, rate: int | None) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=KafkaSettings().bootstrap_servers, acks="all", compression_type="snappy", max_batch_size=2**20
    )
    await producer.start()
    try:
        if rate is None:
            records = list(islice(touchpoints(run, first), count))
            begin = start()
            await send_burst(producer, records)
        else:
            begin = start()
            await send_steadily(producer, touchpoints(run, first), count, rate)
        mark(str(time.process_time() - begin))
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None))
