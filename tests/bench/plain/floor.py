"""Floor: read with aiokafka and decode, nothing else.

Arguments: bootstrap servers, topic, number of records, and the reader: `fastavro` or `ours`.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer
from fastavro import parse_schema, schemaless_reader

from tests.bench.marks import mark
from tests.bench.plain.fold import HEADER_BYTES, SCHEMA, read

PARSED = parse_schema(json.loads(SCHEMA.read_text()))


def read_with_fastavro(value: bytes) -> Any:
    body = BytesIO(value)
    body.seek(HEADER_BYTES)
    return schemaless_reader(body, PARSED, None)


READERS: dict[str, Callable[[bytes], Any]] = {"fastavro": read_with_fastavro, "ours": read}


async def main(servers: str, topic: str, count: int, reader: str) -> None:
    """Read `count` records from the beginning, then wait for the signal to stop."""
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
    seen, decode = 0, READERS[reader]
    while seen < count:
        for fetched in (await consumer.getmany(timeout_ms=500)).values():
            if not seen:
                mark("first")
            for record in fetched:
                decode(record.value)
            seen += len(fetched)
    mark("done")
    signal.pause()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
