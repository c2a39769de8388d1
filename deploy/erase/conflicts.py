"""Conflicts of an erased person on the compacted topic `touchline.identity`: the last record of each key has no value."""

from collections.abc import Iterable, Sequence

from kafka import KafkaProducer
from kafka.errors import KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, encode
from schemas.wire.topics import IDENTITY

KEY_PREFIX = b"x"
ACKNOWLEDGE_SECONDS = 40


def clear_conflict(fields: Fields, ids: Sequence[bytes]) -> Fields:
    """Return the conflict without the values of these identifiers."""
    cleared = dict(fields)
    for id_name, value_name in (("identifier_id", "value"), ("other_id", "other_value")):
        if fields[id_name] in ids:
            cleared[value_name] = ""
    return cleared


def publish_conflicts(settings: KafkaSettings, conflicts: Iterable[Fields]) -> None:
    """Publish conflicts under their keys and wait for every acknowledgement."""
    with translate_kafka_errors(settings):
        producer = KafkaProducer(
            **settings.kafka_python(),
            client_id="touchline-erase",
            acks="all",
            enable_idempotence=True,
            max_block_ms=10_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
        )
        try:
            sent = [
                producer.send(IDENTITY, value=encode("conflict", each), key=KEY_PREFIX + each["conflict_id"], partition=0)
                for each in conflicts
            ]
            for future in sent:
                future.get(timeout=ACKNOWLEDGE_SECONDS)
        except KafkaError:
            producer.close(timeout=0)
            raise
        producer.close()
