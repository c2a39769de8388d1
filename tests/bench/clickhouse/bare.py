"""The minimum work of a sink: read, decode, insert. It has no commits, dead letters, metrics or retries.

As the sink does, it inserts chunks of the sink's size and reads and decodes the next one meanwhile.
`python -m tests.bench.clickhouse.bare COUNT` stores the first COUNT records of `touchline.resolved` and ends.
"""

import asyncio
import gc
import sys
from uuid import uuid4

from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode
from sinks import kafka
from sinks.clickhouse import ClickHouse
from sinks.contract import Row, Table, load_tables
from sinks.process import COLLECT_THRESHOLDS


async def main(count: int) -> None:
    gc.freeze()
    gc.set_threshold(*COLLECT_THRESHOLDS)
    table, client = load_tables()["touchpoints"], ClickHouse()
    consumer = kafka.make_consumer(KafkaSettings(), f"bare-{uuid4().hex}")
    consumer.subscribe([table.topic])
    await consumer.start()
    inserting = asyncio.create_task(asyncio.sleep(0))
    try:
        while count > 0:
            rows = await asyncio.to_thread(decoded, table, await kafka.poll(consumer))
            await inserting
            inserting = asyncio.create_task(asyncio.to_thread(insert, client, table, rows))
            count -= len(rows)
        await inserting
    finally:
        client.close()
        await consumer.stop()


def decoded(table: Table, records: kafka.Records) -> list[Row]:
    return [
        (*table.row(decode(record.value)[1]), record.partition, record.offset)
        for of_partition in records.values()
        for record in of_partition
    ]


def insert(client: ClickHouse, table: Table, rows: list[Row]) -> None:
    if rows:
        client.insert(table.stored, table.columns, list(zip(*rows, strict=True)), uuid4().hex)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
