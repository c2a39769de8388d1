"""Publishing that returns only when the broker has everything: idempotent, acks=all, whole batches."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, islice
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.settings import KafkaSettings
from streams.contract import Output

SLICE = 20_000
Row = tuple[bytes, bytes]
Span = tuple[int, int]


class Outbox:
    """One producer of a worker. Any failure is raised to the caller, who must not go on."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._lanes: dict[tuple[str, int], Lane] = {}

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
            partitions: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
            for topic, partition, key, value in piece:
                partitions[topic, partition].append((key, value))
            await asyncio.gather(*(self._lane(*where).send(rows) for where, rows in partitions.items()))
            sent += len(piece)
        return sent

    async def publish_rows(self, topic: str, partition: int, rows: list[Row]) -> Span:
        """Send changelog rows and wait; returns the offsets of the first and the last one."""
        return await self._lane(topic, partition).send(rows)

    def _lane(self, topic: str, partition: int) -> "Lane":
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(self._producer, topic, partition)
        return lane

    async def close(self) -> None:
        await self._producer.stop()


class Lane:
    """The way to one partition: whoever comes while a send is under way goes with the next one, all in the same batches.

    Kafka takes one batch of a partition after another, so without this many small chunks would wait for each other's round
    trips. aiokafka must not be asked to queue them: it takes what others waited from the patience of whoever waits, once for
    each of them, and times out within seconds.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._waiting: list[tuple[list[Row], asyncio.Future[Span]]] = []
        self._sending: asyncio.Task[None] | None = None

    def send(self, rows: list[Row]) -> "asyncio.Future[Span]":
        """Done when the broker has all rows (at least one), with the offsets of the first and the last; else it fails."""
        acknowledged: asyncio.Future[Span] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, acknowledged))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_on())
        return acknowledged

    async def _send_on(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                spans = await self._send_together([rows for rows, _ in together])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                for _, acknowledged in together:
                    if not acknowledged.done():
                        acknowledged.set_exception(error)
            else:
                for (_, acknowledged), span in zip(together, spans, strict=True):
                    if not acknowledged.done():
                        acknowledged.set_result(span)
        self._sending = None

    async def _send_together(self, together: list[list[Row]]) -> list[Span]:
        """Where the rows of each came to lie."""
        batches = [self._producer.create_batch()]
        for rows in together:
            for key, value in rows:
                if batches[-1].append(key=key, value=value, timestamp=None) is None:
                    batches.append(self._producer.create_batch())
                    batches[-1].append(key=key, value=value, timestamp=None)
        sent = [await self._producer.send_batch(batch, self._topic, partition=self._partition) for batch in batches]
        offsets: list[int] = []
        for batch, acknowledged in zip(batches, sent, strict=True):
            first = (await acknowledged).offset
            offsets += range(first, first + batch.record_count())
        ends = list(accumulate(map(len, together)))
        return [(offsets[end - len(rows)], offsets[end - 1]) for end, rows in zip(ends, together, strict=True)]


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
