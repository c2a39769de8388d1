"""Producer that returns only after the broker has acknowledged every record: idempotent, acks=all, whole batches."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, chain, islice
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from streams.contract import Output
from streams.engine.limits import MAX_BATCH_BYTES, RECORD_OVERHEAD_BYTES

MAX_RECORDS_IN_MEMORY = 20_000
TARGET_BATCH_BYTES = 512 * 1024
Row = tuple[bytes, bytes]
RowGroup = list[Row]
OffsetRange = tuple[int, int]


class Producer:
    """Kafka producer of one worker. It raises every failure to the caller, and the caller must then stop."""

    def __init__(self, client: AIOKafkaProducer) -> None:
        self._client = client
        self._senders: dict[tuple[str, int], PartitionSender] = {}

    @classmethod
    async def open(cls, settings: KafkaSettings, *, is_idempotent: bool = True) -> "Producer":
        """Connect to Kafka. Only a producer that is not idempotent can continue after Kafka refused a record for its size."""
        client = AIOKafkaProducer(
            **settings.aiokafka(),
            acks="all",
            enable_idempotence=is_idempotent,
            compression_type="snappy",
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=8 * 1024 * 1024,
            request_timeout_ms=60_000,
        )
        await client.start()
        return cls(client)

    async def publish(self, outputs: Iterable[Output]) -> int:
        """Send all records in order per partition, wait for every acknowledgement and return the number of records.

        Memory holds at most `MAX_RECORDS_IN_MEMORY` of them at a time.
        """
        iterator, sent = iter(outputs), 0
        while piece := list(islice(iterator, MAX_RECORDS_IN_MEMORY)):
            partitions: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
            for topic, partition, key, value in piece:
                partitions[topic, partition].append((key, value))
            await asyncio.gather(*(self._sender(*tp).send([[row] for row in rows]) for tp, rows in partitions.items()))
            sent += len(piece)
        return sent

    async def publish_rows(self, topic: str, partition: int, rows: list[Row], row_group_prefix_bytes: int) -> OffsetRange:
        """Send changelog rows, wait for the acknowledgement and return the offsets of the first and the last row.

        All rows of a row group (`group_rows`) share one batch. The broker keeps a batch whole or not at all, so that no crash
        leaves half of a row group.
        """
        return await self._sender(topic, partition).send(group_rows(rows, row_group_prefix_bytes))

    def _sender(self, topic: str, partition: int) -> "PartitionSender":
        sender = self._senders.get((topic, partition))
        if sender is None:
            sender = self._senders[topic, partition] = PartitionSender(self._client, topic, partition)
        return sender

    async def close(self) -> None:
        await self._client.stop()


class PartitionSender:
    """Sender of one partition. Rows that arrive during a send leave together with the next one, in shared batches.

    Kafka accepts the batches of a partition one after another. Without shared batches, many small chunks would wait for each
    other's round trips. The queue of aiokafka cannot do this: it subtracts the waiting time of all earlier batches from the
    time-out of each caller, so that callers time out within seconds.
    """

    def __init__(self, client: AIOKafkaProducer, topic: str, partition: int) -> None:
        self._client = client
        self._topic = topic
        self._partition = partition
        self._waiting: list[tuple[list[RowGroup], asyncio.Future[OffsetRange]]] = []
        self._sending: asyncio.Task[None] | None = None

    def send(self, groups: list[RowGroup]) -> "asyncio.Future[OffsetRange]":
        """Queue at least one row. The future holds the offsets of the first and the last row once the broker has all of them.

        A row group stays in one batch. The future raises FatalError for a row group over `MAX_BATCH_BYTES`.
        """
        acknowledged: asyncio.Future[OffsetRange] = asyncio.get_running_loop().create_future()
        self._waiting.append((groups, acknowledged))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return acknowledged

    async def _send_all(self) -> None:
        while self._waiting:
            requests, self._waiting = self._waiting, []
            try:
                ranges = await self._send_together([groups for groups, _ in requests])
            except Exception as error:  # noqa: BLE001 - each caller receives the error through its future
                for _, acknowledged in requests:
                    if not acknowledged.done():
                        acknowledged.set_exception(error)
            else:
                for (_, acknowledged), offsets in zip(requests, ranges, strict=True):
                    if not acknowledged.done():
                        acknowledged.set_result(offsets)
        self._sending = None

    async def _send_together(self, requests: list[list[RowGroup]]) -> list[OffsetRange]:
        """Send the rows of all requests and return the offset range of each request."""
        batches = self._batches(chain.from_iterable(requests))
        sent = [await self._client.send_batch(batch, self._topic, partition=self._partition) for batch in batches]
        offsets: list[int] = []
        for batch, acknowledged in zip(batches, sent, strict=True):
            first = (await acknowledged).offset
            offsets += range(first, first + batch.record_count())
        counts = [sum(map(len, groups)) for groups in requests]
        return [(offsets[end - count], offsets[end - 1]) for count, end in zip(counts, accumulate(counts), strict=True)]

    def _batches(self, groups: Iterable[RowGroup]) -> list[Any]:
        batches, size = [self._client.create_batch()], 0
        for group in groups:
            needed = 0
            for key, value in group:
                needed += len(key) + len(value) + RECORD_OVERHEAD_BYTES
            if size and size + needed > TARGET_BATCH_BYTES:
                batches.append(self._client.create_batch())
                size = 0
            size += needed
            for key, value in group:
                if batches[-1].append(key=key, value=value, timestamp=None) is None:
                    raise FatalError(
                        f"one row group of {self._topic}/{self._partition} needs {needed} bytes,"
                        f" a batch holds at most {MAX_BATCH_BYTES}"
                    )
        return batches


def group_rows(rows: Iterable[Row], prefix_bytes: int) -> list[RowGroup]:
    """Return rows grouped by the first `prefix_bytes` of their keys, in the order of each group's first row.

    With 0, each row is a group of its own and the order stays as it is.
    """
    if not prefix_bytes:
        return [[row] for row in rows]
    groups: dict[bytes, RowGroup] = {}
    for key, value in rows:
        groups.setdefault(key[:prefix_bytes], []).append((key, value))
    return list(groups.values())
