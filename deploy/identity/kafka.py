"""Kafka clients of decisions: reading of the identity map, offsets of the sequencer, acknowledged requests."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from schemas.records.identity import Decision
from schemas.service.connection import KafkaSettings
from schemas.service.header_names import tolerate_invalid_header_names_in_kafka_python
from schemas.service.kafka_probe import diagnose_kafka
from schemas.wire.codec import encode_model
from schemas.wire.topics import IDENTITY_REQUESTS

REQUESTS = TopicPartition(IDENTITY_REQUESTS, 0)
ACKNOWLEDGE_SECONDS = 40
tolerate_invalid_header_names_in_kafka_python()


@contextmanager
def open_consumer(settings: KafkaSettings, group: str | None = None) -> Iterator[Any]:
    """Yield a consumer without partitions and close it at the end of the block. Errors of the client become TouchlineErrors."""
    with translate_kafka_errors(settings):
        try:
            consumer = KafkaConsumer(
                **settings.kafka_python(),
                client_id="touchline-identity",
                group_id=group,
                enable_auto_commit=False,
                bootstrap_timeout_ms=5_000,
                metrics_enabled=False,
            )
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        with closing(consumer):
            yield consumer


def read_committed(settings: KafkaSettings) -> int:
    """Return the offset that the workers have committed; 0 before their first commit."""
    from streams.engine.worker import GROUP  # late: it imports Faust

    with open_consumer(settings, GROUP) as consumer:
        committed: int | None = consumer.committed(REQUESTS)
        return committed or 0


def publish(settings: KafkaSettings, decisions: Sequence[Decision]) -> int:
    """Publish decisions to the sequencer, wait for every acknowledgement, and return the offset of the last decision."""
    with translate_kafka_errors(settings):
        producer = KafkaProducer(
            **settings.kafka_python(),
            client_id="touchline-identity",
            acks="all",
            enable_idempotence=True,
            max_block_ms=10_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
        )
        try:
            futures = [
                producer.send(
                    IDENTITY_REQUESTS, value=encode_model("decision", each), key=b"d" + each.decision_id.bytes, partition=0
                )
                for each in decisions
            ]
            last: int = max(future.get(timeout=ACKNOWLEDGE_SECONDS).offset for future in futures)
        except KafkaError:
            producer.close(timeout=0)
            raise
        producer.close()
    return last
