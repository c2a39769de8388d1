"""Kafka side of decisions: offsets of the sequencer, and acknowledged requests."""

from collections.abc import Sequence

from kafka import TopicPartition

from deploy.kafka_clients import Message, open_consumer, publish_acknowledged
from schemas.records.identity import Decision
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode_model
from schemas.wire.topics import IDENTITY_REQUESTS

CLIENT = "touchline-identity"
REQUESTS = TopicPartition(IDENTITY_REQUESTS, 0)


def read_committed(settings: KafkaSettings) -> int:
    """Return the offset that the workers have committed; 0 before their first commit."""
    from streams.engine.worker import GROUP  # late: it imports Faust

    with open_consumer(settings, CLIENT, group_id=GROUP) as consumer:
        committed: int | None = consumer.committed(REQUESTS)
        return committed or 0


def publish(settings: KafkaSettings, decisions: Sequence[Decision]) -> int:
    """Publish decisions to the sequencer, wait for every acknowledgement, and return the offset of the last decision."""
    requests = [
        Message(IDENTITY_REQUESTS, b"d" + each.decision_id.bytes, encode_model("decision", each), 0) for each in decisions
    ]
    return max(publish_acknowledged(settings, CLIENT, requests))
