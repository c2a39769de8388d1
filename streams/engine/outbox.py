"""Publishing that returns only when the broker has everything: idempotent, acks=all, whole batches."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from schemas.settings import KafkaSettings
from streams.contract import Output

SLICE = 5_000
Partition = tuple[str, int]


class Outbox:
    """One producer of a worker. Any failure is raised to the caller, who must not go on."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._turns: defaultdict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    async def open(cls, settings: KafkaSettings) -> "Outbox":
        producer = AIOKafkaProducer(
            **aiokafka_options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type="snappy",
            max_batch_size=512 * 1024,
            max_request_size=8 * 1024 * 1024,
            request_timeout_ms=60_000,
        )
        await producer.start()
        return cls(producer)

    async def publish(self, outputs: Iterable[Output]) -> int:
        """Send all in order per partition and wait for every acknowledgement; returns how many. Memory: one slice."""
        iterator, sent = iter(outputs), 0
        while piece := list(islice(iterator, SLICE)):
            await self._publish(piece)
            sent += len(piece)
        return sent

    async def publish_rows(self, topic: str, partition: int, rows: list[tuple[bytes, bytes]]) -> tuple[int, int]:
        """Send changelog rows and wait; returns the offsets of the first and the last one."""
        acknowledged = await self._publish([Output(topic, partition, key, value) for key, value in rows])
        return min(first for first, _ in acknowledged), max(first + count - 1 for first, count in acknowledged)

    async def _publish(self, outputs: list[Output]) -> list[tuple[int, int]]:
        """Acknowledged batches as (first offset, records)."""
        partitions: dict[Partition, list[Any]] = {}
        for topic, partition, key, value in outputs:
            batches = partitions.get((topic, partition))
            if batches is None:
                batches = partitions[topic, partition] = [self._producer.create_batch()]
            if batches[-1].append(key=key, value=value, timestamp=None) is None:
                batches.append(self._producer.create_batch())
                batches[-1].append(key=key, value=value, timestamp=None)
        sending = [self._send(*partition, batches) for partition, batches in partitions.items()]
        return [batch for acknowledged in await asyncio.gather(*sending) for batch in acknowledged]

    async def _send(self, topic: str, partition: int, batches: list[Any]) -> list[tuple[int, int]]:
        """The batches of one partition, in order. Whoever else sends to it waits for its turn.

        aiokafka takes what others waited from the patience of whoever waits, again for each of them: a handful who wait for one
        partition time out within a second instead of a minute.
        """
        async with self._turns[topic, partition]:
            waiting: list[asyncio.Future[RecordMetadata]] = [
                await self._producer.send_batch(batch, topic, partition=partition) for batch in batches
            ]
        return [((await future).offset, batch.record_count()) for future, batch in zip(waiting, batches, strict=True)]

    async def close(self) -> None:
        await self._producer.stop()


def aiokafka_options(settings: KafkaSettings) -> dict[str, Any]:
    """The connection arguments of an aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.sasl_mechanism:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    if settings.ssl_cafile:
        options["ssl_context"] = ssl.create_default_context(cafile=settings.ssl_cafile)
    return options
