"""Kafka client of the connectors: publishes records, waits for acknowledgements, saves and loads states.

No other module of the runtime uses the Kafka client. This one translates the client's errors into those of `schemas/errors.py`.
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

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
DELIVERY_SECONDS = 120
STOPPING_SECONDS = 8
WARNING_SECONDS = 5
LOAD_TIMEOUT_SECONDS = 30.0
BOOTSTRAP_MILLISECONDS = 10_000
log = logging.getLogger(__name__)


class Publisher:
    """Producer that holds at most the records sent since the last `flush()`.

    The Kafka client has no memory bound, so the size of a batch is the bound. After an error the caller closes the producer, and
    the next `send` opens another one. Kafka may have written some records in flight; they are sent again with the same event ids.
    """

    def __init__(self, settings: KafkaSettings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._sent: list[Any] = []
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
                max_request_size=MAX_MESSAGE_BYTES,
                max_block_ms=10_000,
                request_timeout_ms=30_000,
                delivery_timeout_ms=DELIVERY_SECONDS * 1_000,
                bootstrap_timeout_ms=BOOTSTRAP_MILLISECONDS,
                metrics_enabled=False,
            )

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Send one record. Only `flush()` reports whether Kafka has written it."""
        if self._producer is None:
            self._producer = self._open()
        with translate_kafka_errors(self._settings):
            self._sent.append(self._producer.send(topic, value=value, key=key))

    def flush(self) -> None:
        """Wait until Kafka has acknowledged every record sent. Raises RetryableError or FatalError for the first one refused."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        warn_at = time.monotonic() + WARNING_SECONDS
        with translate_kafka_errors(self._settings):
            while not self._is_flushed():
                now = time.monotonic()
                deadline = min(deadline, now + STOPPING_SECONDS) if self._stop.is_set() else deadline
                if now > deadline:
                    raise KafkaTimeoutError("not acknowledged in time")
                if now > warn_at:
                    log.warning("Kafka at %s does not acknowledge records; retrying", self._settings.bootstrap_servers)
                    warn_at = deadline
            sent, self._sent = self._sent, []
            for future in sent:
                if not future.succeeded():
                    raise future.exception or KafkaTimeoutError("not acknowledged")

    def _is_flushed(self) -> bool:
        assert self._producer is not None
        try:
            self._producer.flush(timeout=1)
        except KafkaTimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close the producer and drop all records that are not acknowledged."""
        producer, self._producer, self._sent = self._producer, None, []
        if producer is None:
            return
        try:
            producer.close(timeout=1)
        except KafkaTimeoutError:
            producer.close(timeout=0)


def save_state(publisher: Publisher, state: ConnectorState) -> None:
    """Write the state to the compacted topic and wait for its acknowledgement."""
    publisher.send(CONNECTOR_STATE, f"{state.connector}/{state.stream}".encode(), encode_model("connector_state", state))
    publisher.flush()


def load_states(settings: KafkaSettings, connector: str) -> dict[str, ConnectorState]:
    """Return the last saved state of each stream of the connector. Raises RetryableError, or FatalError for a damaged state."""
    states = {}
    prefix = f"{connector}/".encode()
    for key, value, offset in _read_state_topic(settings):
        if not key.startswith(prefix):
            continue
        try:
            _, fields = decode(value)
        except RecordError as error:
            raise FatalError(f"{CONNECTOR_STATE} offset {offset}: {error.detail}") from None
        state = ConnectorState.model_validate({**fields, **_convert_times(fields)})
        states[state.stream] = state
    return states


def _convert_times(fields: dict[str, Any]) -> dict[str, Any]:
    """Convert the instants of a state from milliseconds to datetimes."""
    names = ("last_event_at", "last_success_at", "position_at")
    return {name: None if fields[name] is None else instant(fields[name]) for name in names}


def _read_state_topic(settings: KafkaSettings) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and offset of each record of the state topic, up to its end at the time of the call."""
    with translate_kafka_errors(settings):
        consumer = KafkaConsumer(
            **settings.kafka_python(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=BOOTSTRAP_MILLISECONDS,
            metrics_enabled=False,
        )
    try:
        with translate_kafka_errors(settings):
            partition = TopicPartition(CONNECTOR_STATE, 0)
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            end = consumer.end_offsets([partition])[partition]
            received_at = time.monotonic()
            while consumer.position(partition) < end:
                for record in consumer.poll(timeout_ms=1_000).get(partition, []):
                    received_at = time.monotonic()
                    yield record.key, record.value, record.offset
                if time.monotonic() - received_at > LOAD_TIMEOUT_SECONDS:
                    raise RetryableError(f"Kafka sent no record of {CONNECTOR_STATE} for {LOAD_TIMEOUT_SECONDS:.0f} s")
    finally:
        consumer.close()


@contextmanager
def translate_kafka_errors(settings: KafkaSettings) -> Iterator[None]:
    """Translate errors of the Kafka client: retriable ones into RetryableError, all others into FatalError."""
    try:
        yield
    except KafkaTimeoutError as error:
        hint = "is it running (`touchline status`), and do its topics exist (`touchline migrate`)?"
        raise RetryableError(f"Kafka at {settings.bootstrap_servers} does not answer: {hint}") from error
    except KafkaError as error:
        kind = RetryableError if error.retriable else FatalError
        raise kind(f"Kafka at {settings.bootstrap_servers} refused: {type(error).__name__}") from error
