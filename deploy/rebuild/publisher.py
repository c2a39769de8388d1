"""Publisher of `history` records: acknowledged, in order, at a bounded rate."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from deploy.rebuild.history import Part
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from schemas.wire.topics import RESOLVED, customer_partition

MAX_UNACKNOWLEDGED_BYTES = 4 * 1024 * 1024
MAX_REQUEST_BYTES = 8 * 1024 * 1024
ACKNOWLEDGE_SECONDS = 130


class Pace:
    """Rate limit: `pause` sleeps as long as the touchpoints so far are ahead of the rate. 0 is no limit."""

    def __init__(
        self, per_second: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._per_second = per_second
        self._clock, self._sleep = clock, sleep
        self._due = clock()

    def pause(self, touchpoints: int) -> None:
        """Sleep until `touchpoints` more are due. A slow reader does not save up a burst."""
        if self._per_second:
            now = self._clock()
            self._due = max(self._due, now - 1.0) + touchpoints / self._per_second
            if self._due > now:
                self._sleep(self._due - now)


class HistoryPublisher:
    """Producer that holds at most 4 MiB of records without an acknowledgement.

    `ends` maps a partition to the offset of its last acknowledged `history` record.
    """

    def __init__(self, producer: Any, pace: Pace) -> None:
        self._producer = producer
        self._pace = pace
        self._sent: list[Any] = []
        self._unacknowledged = 0
        self._since_flush = 0
        self.ends: dict[int, int] = {}

    def publish(self, customer_id: bytes, parts: Iterable[Part]) -> int:
        """Send the parts of one customer in order, and return the number of touchpoints."""
        touchpoints = 0
        partition = customer_partition(customer_id)
        for part in parts:
            self._sent.append(self._producer.send(RESOLVED, value=part.value, key=customer_id, partition=partition))
            self._unacknowledged += len(part.value)
            self._since_flush += len(part.value)
            touchpoints += part.touchpoints
            if self._unacknowledged >= MAX_UNACKNOWLEDGED_BYTES:
                self._wait()
            self._pace.pause(part.touchpoints)
        return touchpoints

    @property
    def is_flush_due(self) -> bool:
        """Return whether 4 MiB were sent since the last `flush`."""
        return self._since_flush >= MAX_UNACKNOWLEDGED_BYTES

    def flush(self) -> None:
        """Wait until Kafka has acknowledged every record. Raises the error of the first one refused."""
        self._wait()
        self._since_flush = 0

    def _wait(self) -> None:
        sent, self._sent, self._unacknowledged = self._sent, [], 0
        for future in sent:
            metadata = future.get(timeout=ACKNOWLEDGE_SECONDS)
            self.ends[metadata.partition] = max(metadata.offset, self.ends.get(metadata.partition, -1))


@contextmanager
def open_publisher(settings: KafkaSettings, per_second: int) -> Iterator[HistoryPublisher]:
    """Yield a publisher and close it at the end of the block. Errors of the client become TouchlineErrors.

    The producer is idempotent, so that a retry keeps the order of the parts.
    """
    with translate_kafka_errors(settings):
        try:
            producer = KafkaProducer(
                **settings.kafka_python(),
                client_id="touchline-rebuild",
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=5,
                max_request_size=MAX_REQUEST_BYTES,
                max_block_ms=10_000,
                request_timeout_ms=30_000,
                delivery_timeout_ms=120_000,
                bootstrap_timeout_ms=5_000,
                metrics_enabled=False,
            )
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        try:
            yield HistoryPublisher(producer, Pace(per_second))
        except BaseException:
            producer.close(timeout=0)
            raise
        producer.close()
