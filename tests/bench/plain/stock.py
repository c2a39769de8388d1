"""Plain fold on stock Faust, as its users write it. Arguments: bootstrap servers, topic, output topic, folder.

The settings are the best comparable ones: the fixed Cython paths, a queue that does not stop the fetcher, the same codec as
ours, batched and compressed sends (a linger of 0.2 s was better than 0.02 s and 1 s). Its producer has no idempotence setting,
so acks=all applies alone.
"""

import sys
from typing import Any

import faust

from tests.bench.marks import mark
from tests.bench.plain.fold import add, decode, encode, read

GROUP = "bench-stock"


def build(servers: str, topic: str, output: str, folder: str) -> faust.App:
    """Return an app with one agent, one RocksDB table and one output topic."""
    app = faust.App(
        GROUP,
        broker=f"kafka://{servers}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=8,
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1024 * 1024,
        broker_commit_interval=1.0,
        broker_max_poll_records=5_000,
        stream_buffer_maxsize=65_536,
        producer_acks=-1,
        producer_linger=0.2,
        producer_max_batch_size=131_072,
        producer_compression_type="lz4",
        cython_optimizations=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    touchpoints, readings = app.topic(topic, **raw), app.topic(output, **raw)
    table = app.Table("customers", key_type=bytes, value_type=bytes)

    async def plain(stream: Any) -> None:
        idle = True
        async for event in stream.events():
            if idle:
                mark("first")
                idle = False
            row = decode(table.get(event.key))
            add(row, read(event.value))
            value = encode(row)
            table[event.key] = value
            await readings.send(key=event.key, value=value)

    app.agent(touchpoints, name="plain")(plain)
    return app


def main(*arguments: str) -> None:
    """Run until SIGTERM."""
    worker = faust.Worker(build(*arguments), loglevel="WARNING", quiet=True, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
