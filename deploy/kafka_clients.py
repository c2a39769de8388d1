"""Kafka clients of commands: a consumer without partitions, and the publication of a few records with acknowledgement."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from schemas.service.connection import KafkaSettings
from schemas.service.header_names import tolerate_invalid_header_names_in_kafka_python
from schemas.service.kafka_probe import diagnose_kafka

ACKNOWLEDGE_SECONDS = 40
tolerate_invalid_header_names_in_kafka_python()


class Message(NamedTuple):
    """One record to publish. Without `partition`, its key decides."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


@contextmanager
def open_consumer(settings: KafkaSettings, client: str, **options: Any) -> Iterator[Any]:
    """Yield a consumer without partitions and close it at the end of the block. Errors of the client become TouchlineErrors.

    `options` are further arguments of kafka-python's KafkaConsumer.
    """
    with translate_kafka_errors(settings):
        try:
            consumer = KafkaConsumer(
                **settings.kafka_python(),
                client_id=client,
                enable_auto_commit=False,
                bootstrap_timeout_ms=5_000,
                metrics_enabled=False,
                **options,
            )
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        with closing(consumer):
            yield consumer


def publish_acknowledged(settings: KafkaSettings, client: str, messages: Iterable[Message], **options: Any) -> list[int]:
    """Publish records, wait for every acknowledgement, and return their offsets.

    `options` are further arguments of kafka-python's KafkaProducer. Raises RetryableError while Kafka is away.
    """
    with translate_kafka_errors(settings):
        producer = KafkaProducer(
            **settings.kafka_python(),
            client_id=client,
            acks="all",
            enable_idempotence=True,
            max_block_ms=10_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
            **options,
        )
        try:
            sent = [producer.send(each.topic, each.value, each.key, partition=each.partition) for each in messages]
            offsets = [future.get(timeout=ACKNOWLEDGE_SECONDS).offset for future in sent]
        except KafkaError:
            producer.close(timeout=0)
            raise
        producer.close()
    return offsets
