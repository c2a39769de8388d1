"""Publishing that returns only when the broker has everything: idempotent, acks=all, whole batches."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, chain, islice
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from streams.contract import Output

SLICE = 20_000
BATCH_BYTES = 512 * 1024
LARGEST_BATCH_BYTES = 4 * 1024 * 1024
RECORD_BYTES = 32  # more than what a record adds to its key and value
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
            max_batch_size=LARGEST_BATCH_BYTES,
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
            await asyncio.gather(*(self._lane(*where).send([[row] for row in rows]) for where, rows in partitions.items()))
            sent += len(piece)
        return sent

    async def publish_rows(self, topic: str, partition: int, rows: list[Row], family_bytes: int) -> Span:
        """Send changelog rows and wait; returns the offsets of the first and the last one.

        Rows of one family (`families`) share a batch, which the broker keeps whole or not at all: no crash leaves half of it.
        """
        return await self._lane(topic, partition).send(families(rows, family_bytes))

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
        self._waiting: list[tuple[list[list[Row]], asyncio.Future[Span]]] = []
        self._sending: asyncio.Task[None] | None = None

    def send(self, families: list[list[Row]]) -> "asyncio.Future[Span]":
        """Done when the broker has all rows (at least one), with the offsets of the first and the last; else it fails.

        A family stays in one batch. Raises FatalError where that is over 4 MiB.
        """
        acknowledged: asyncio.Future[Span] = asyncio.get_running_loop().create_future()
        self._waiting.append((families, acknowledged))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_on())
        return acknowledged

    async def _send_on(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                spans = await self._send_together([families for families, _ in together])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                for _, acknowledged in together:
                    if not acknowledged.done():
                        acknowledged.set_exception(error)
            else:
                for (_, acknowledged), span in zip(together, spans, strict=True):
                    if not acknowledged.done():
                        acknowledged.set_result(span)
        self._sending = None

    async def _send_together(self, together: list[list[list[Row]]]) -> list[Span]:
        """Where the rows of each came to lie."""
        batches = self._batches(chain.from_iterable(together))
        sent = [await self._producer.send_batch(batch, self._topic, partition=self._partition) for batch in batches]
        offsets: list[int] = []
        for batch, acknowledged in zip(batches, sent, strict=True):
            first = (await acknowledged).offset
            offsets += range(first, first + batch.record_count())
        counts = [sum(map(len, families)) for families in together]
        return [(offsets[end - count], offsets[end - 1]) for count, end in zip(counts, accumulate(counts), strict=True)]

    def _batches(self, families: Iterable[list[Row]]) -> list[Any]:
        batches, size = [self._producer.create_batch()], 0
        for family in families:
            needed = 0
            for key, value in family:
                needed += len(key) + len(value) + RECORD_BYTES
            if size and size + needed > BATCH_BYTES:
                batches.append(self._producer.create_batch())
                size = 0
            size += needed
            for key, value in family:
                if batches[-1].append(key=key, value=value, timestamp=None) is None:
                    raise FatalError(f"rows that belong together do not fit into one batch of {self._topic}: {needed} bytes")
        return batches


def families(rows: Iterable[Row], family_bytes: int) -> list[list[Row]]:
    """Rows whose keys begin with the same so many bytes, in the order of their first ones; 0: each by itself, as they come."""
    if not family_bytes:
        return [[row] for row in rows]
    found: dict[bytes, list[Row]] = {}
    for key, value in rows:
        found.setdefault(key[:family_bytes], []).append((key, value))
    return list(found.values())


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
