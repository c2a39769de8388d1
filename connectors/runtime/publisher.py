"""Kafka as the runner sees it: publish and wait for every acknowledgement; read back the saved states.

The one place where a connector process meets the Kafka client, and where the client's errors become ours.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from schemas.errors import FatalError, RecordError, RetryableError
from schemas.records.connector_state import ConnectorState
from schemas.records.fields import instant
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode_model
from schemas.wire.topics import CONNECTOR_STATE

MAX_MESSAGE = 8 * 1024 * 1024
DELIVERY_SECONDS = 120
LEAVING_SECONDS = 8
PATIENCE_SECONDS = 5
SILENT_SECONDS = 30.0
BOOTSTRAP_MS = 10_000
log = logging.getLogger(__name__)


class Publisher:
    """A producer that holds at most what its caller sent since the last `acknowledged()`.

    The client itself has no memory bound; a batch of the contract is the bound. After an error it is closed, and the next
    `send` opens another: what was in flight may or may not have been written, and is sent again with the same event ids.
    """

    def __init__(self, settings: KafkaSettings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._waiting: list[Any] = []
        self._producer: KafkaProducer | None = self._open()

    def _open(self) -> KafkaProducer:
        with translate_kafka_errors(self._settings):
            return KafkaProducer(
                **self._settings.kafka_python(),
                client_id="touchline-connect",
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=20,
                batch_size=131_072,
                max_request_size=MAX_MESSAGE,
                max_block_ms=10_000,
                request_timeout_ms=30_000,
                delivery_timeout_ms=DELIVERY_SECONDS * 1_000,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                metrics_enabled=False,
            )

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Hand one record to the client; nothing is known about it before `acknowledged()`."""
        if self._producer is None:
            self._producer = self._open()
        with translate_kafka_errors(self._settings):
            self._waiting.append(self._producer.send(topic, value=value, key=key))

    def acknowledged(self) -> None:
        """Return when everything sent is written. Raises RetryableError or FatalError for the first that is not."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        patience = time.monotonic() + PATIENCE_SECONDS
        with translate_kafka_errors(self._settings):
            while not self._flushed():
                now = time.monotonic()
                deadline = min(deadline, now + LEAVING_SECONDS) if self._stop.is_set() else deadline
                if now > deadline:
                    raise KafkaTimeoutError("not acknowledged in time")
                if now > patience:
                    log.warning("Kafka at %s acknowledges nothing; still trying", self._settings.bootstrap_servers)
                    patience = deadline
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.succeeded():
                    raise future.exception or KafkaTimeoutError("not acknowledged")

    def _flushed(self) -> bool:
        assert self._producer is not None
        try:
            self._producer.flush(timeout=1)
        except KafkaTimeoutError:
            return False
        return True

    def close(self) -> None:
        """Drop the producer and whatever was not acknowledged."""
        producer, self._producer, self._waiting = self._producer, None, []
        if producer is None:
            return
        try:
            producer.close(timeout=1)
        except KafkaTimeoutError:
            producer.close(timeout=0)


def save_state(publisher: Publisher, state: ConnectorState) -> None:
    """Write the state to the compacted topic, acknowledged."""
    publisher.send(CONNECTOR_STATE, f"{state.connector}/{state.stream}".encode(), encode_model("connector_state", state))
    publisher.acknowledged()


def load_states(settings: KafkaSettings, connector: str) -> dict[str, ConnectorState]:
    """The last saved state of each stream of the connector. Raises RetryableError, or FatalError for damaged states."""
    states = {}
    prefix = f"{connector}/".encode()
    for key, value, offset in _whole_topic(settings):
        if not key.startswith(prefix):
            continue
        try:
            _, fields = decode(value)
        except RecordError as error:
            raise FatalError(f"{CONNECTOR_STATE} offset {offset}: {error.detail}") from None
        state = ConnectorState.model_validate({**fields, **_times(fields)})
        states[state.stream] = state
    return states


def _times(fields: dict[str, Any]) -> dict[str, Any]:
    """Instants are milliseconds on Kafka, and datetimes here."""
    names = ("last_event_at", "last_success_at", "position_at")
    return {name: None if fields[name] is None else instant(fields[name]) for name in names}


def _whole_topic(settings: KafkaSettings) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, value and offset of everything in the state topic, to the end that it had at the beginning."""
    with translate_kafka_errors(settings):
        consumer = KafkaConsumer(
            **settings.kafka_python(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=BOOTSTRAP_MS,
            metrics_enabled=False,
        )
    try:
        with translate_kafka_errors(settings):
            partition = TopicPartition(CONNECTOR_STATE, 0)
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            end = consumer.end_offsets([partition])[partition]
            heard = time.monotonic()
            while consumer.position(partition) < end:
                for record in consumer.poll(timeout_ms=1_000).get(partition, []):
                    heard = time.monotonic()
                    yield record.key, record.value, record.offset
                if time.monotonic() - heard > SILENT_SECONDS:
                    raise RetryableError(f"Kafka says nothing of {CONNECTOR_STATE} for {SILENT_SECONDS:.0f} s")
    finally:
        consumer.close()


@contextmanager
def translate_kafka_errors(settings: KafkaSettings) -> Iterator[None]:
    """The client's errors by what to do: those that may pass are RetryableError, the others FatalError."""
    try:
        yield
    except KafkaTimeoutError as error:
        hint = "is it running (`touchline status`), and do its topics exist (`touchline migrate`)?"
        raise RetryableError(f"Kafka at {settings.bootstrap_servers} does not answer: {hint}") from error
    except KafkaError as error:
        kind = RetryableError if error.retriable else FatalError
        raise kind(f"Kafka at {settings.bootstrap_servers} refused: {type(error).__name__}") from error
