"""Reads Kafka topics for assertions: every record from an offset to the current end."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from schemas.service.connection import KafkaSettings
from schemas.service.header_names import tolerate_invalid_header_names_in_kafka_python

MAX_FETCH_BYTES = 16 * 1024 * 1024
tolerate_invalid_header_names_in_kafka_python()


def read_topic(topic: str, offset: int = 0, settings: KafkaSettings | None = None) -> Iterator[Any]:
    """Yield every record from `offset` to the end that each partition has now, in the order of each partition."""
    with closing(_consumer(settings)) as consumer:
        partitions = _partitions(consumer, topic)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, offset)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                yield from records


def end_offsets(topic: str, settings: KafkaSettings | None = None) -> dict[int, int]:
    """Return the offset of the next record of each partition."""
    with closing(_consumer(settings)) as consumer:
        ends = consumer.end_offsets(_partitions(consumer, topic))
        return {partition.partition: end for partition, end in ends.items()}


def _consumer(settings: KafkaSettings | None) -> Any:
    options = (settings or KafkaSettings()).kafka_python()
    return KafkaConsumer(**options, enable_auto_commit=False, max_partition_fetch_bytes=MAX_FETCH_BYTES)


def _partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
