"""The floor: aiokafka reads and fastavro decodes, nothing else. Arguments: bootstrap servers, topic, number of records."""

import asyncio
import signal
import sys

from aiokafka import AIOKafkaConsumer

from tests.bench.marks import mark
from tests.bench.plain.fold import read


async def main(servers: str, topic: str, count: int) -> None:
    """Read `count` records from the beginning, then wait for the signal to end."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id="bench-floor",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        max_poll_records=20_000,
    )
    await consumer.start()
    seen = 0
    while seen < count:
        for fetched in (await consumer.getmany(timeout_ms=500)).values():
            if not seen:
                mark("first")
            for record in fetched:
                read(record.value)
            seen += len(fetched)
    mark("done")
    signal.pause()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
