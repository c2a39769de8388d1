"""What no sink can do without: read, decode, insert. No commits, no dead letters, no metrics, no second try.

`python -m tests.bench.clickhouse.bare COUNT` stores the first COUNT records of `touchline.resolved` and ends.
"""

import asyncio
import gc
import sys
from uuid import uuid4

from schemas.codec import decode
from schemas.settings import KafkaSettings
from sinks import kafka
from sinks.clickhouse import ClickHouse
from sinks.contract import tables
from sinks.process import COLLECT_AFTER


async def main(count: int) -> None:
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    table, client = tables()["touchpoints"], ClickHouse()
    consumer = kafka.consumer(KafkaSettings(), f"bare-{uuid4().hex}")
    consumer.subscribe([table.topic])
    await consumer.start()
    try:
        while count > 0:
            fetched = await consumer.getmany(timeout_ms=kafka.POLL_MS, max_records=kafka.CHUNK_RECORDS)
            records = [record for of_partition in fetched.values() for record in of_partition]
            rows = [(*table.row(decode(record.value)[1]), record.partition, record.offset) for record in records]
            if rows:
                values = list(zip(*rows, strict=True))
                await asyncio.to_thread(client.insert, table.stored, table.columns, values, uuid4().hex)
            count -= len(rows)
    finally:
        client.close()
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
