"""Kafka clients of the sinks. They are from aiokafka, which reads 4.4 times as many small records per second as kafka-python."""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Mapping
from operator import attrgetter
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import ConfigError
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_headers import tolerate_invalid_header_names
from schemas.service.kafka_probe import diagnose_kafka
from schemas.service.waiting import REPORT_SECONDS, RETRY_SECONDS

MEGABYTE = 1024 * 1024
MAX_RECORD_BYTES = 8 * MEGABYTE
# A chunk ends with the first step that reaches one of the two limits.
CHUNK_RECORDS, CHUNK_BYTES, STEP_RECORDS = 25_000, 8 * MEGABYTE, 1_000
POLL_MS = 500
CLOSE_SECONDS = 2.0
MAX_TOPIC_REQUESTS = 5
# A broker that has just started may not list the topic yet. A rebalance then assigns no partition until the next request,
# by default five minutes later.
METADATA_MS = 5_000
size = attrgetter("serialized_value_size")
Records = dict[TopicPartition, list[ConsumerRecord]]
log = logging.getLogger(__name__)
tolerate_invalid_header_names()


def make_consumer(settings: KafkaSettings, group: str) -> AIOKafkaConsumer:
    """Return a consumer without automatic commits. The broker answers a fetch at 1 MiB, or after half a second."""
    return AIOKafkaConsumer(
        **settings.aiokafka(),
        client_id=group,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_min_bytes=MEGABYTE,
        fetch_max_wait_ms=500,
        fetch_max_bytes=CHUNK_BYTES,
        max_partition_fetch_bytes=MAX_RECORD_BYTES,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=1_500,
        max_poll_interval_ms=300_000,
        metadata_max_age_ms=METADATA_MS,
    )


def make_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """Return the producer of dead letters. All in-sync replicas acknowledge each of them."""
    return AIOKafkaProducer(
        **settings.aiokafka(), client_id="touchline-sink", acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )


async def start(client: AIOKafkaConsumer | AIOKafkaProducer, settings: KafkaSettings, stop: threading.Event) -> bool:
    """Start a client, retry each second while Kafka is down, and return whether it started before `stop`.

    Logs the reason every ten seconds. Raises ConfigError for wrong settings or credentials.
    """
    next_report = 0.0
    while not stop.is_set():
        try:
            await client.start()
        except KafkaError as error:
            if time.monotonic() >= next_report:
                reason = await asyncio.to_thread(diagnose_kafka, settings)
                if isinstance(reason, ConfigError):
                    raise reason from error
                log.warning("waiting for Kafka at %s: %s", settings.bootstrap_servers, reason or type(error).__name__)
                next_report = time.monotonic() + REPORT_SECONDS
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return True
    return False


async def has_topic(client: AIOKafkaConsumer, topic: str) -> bool:
    """Return whether Kafka has a topic. Ask for some seconds, because a broker that has just started may not list it yet."""
    for _ in range(MAX_TOPIC_REQUESTS):
        if topic in await client.topics():
            return True
        await asyncio.sleep(RETRY_SECONDS)
    return False


async def poll(client: AIOKafkaConsumer) -> Records:
    """Return the next records by partition, in their order; an empty dict after half a second without any.

    The first step takes one record. Each further one takes as many of the average size as fit the rest of the chunk, and at most
    doubles it: one fetch of large compressed records would otherwise fill the memory.
    """
    records: Records = {}
    count = volume = 0
    while count < CHUNK_RECORDS and volume < CHUNK_BYTES:
        fitting = (CHUNK_BYTES - volume) * count // max(volume, 1)
        step = await client.getmany(timeout_ms=0 if records else POLL_MS, max_records=max(1, min(STEP_RECORDS, fitting, count)))
        if not step:
            break
        for partition, some in step.items():
            records.setdefault(partition, []).extend(some)
            count += len(some)
            volume += sum(map(size, some))
    return records


async def fetch_committed(client: AIOKafkaConsumer) -> Mapping[TopicPartition, Any]:
    """Return committed offset and metadata of this consumer's partitions, without those that have no commit.

    `AIOKafkaConsumer.committed` returns no metadata, and the admin client does not wait for a coordinator that is starting.
    """
    return await client._coordinator.fetch_committed_offsets(list(client.assignment()))  # type: ignore[no-any-return]  # noqa: SLF001


async def read_ranges(settings: KafkaSettings, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Records:
    """Return the records of offset ranges (end exclusive), without joining a group. Compacted records are missing from them."""
    client = AIOKafkaConsumer(
        **settings.aiokafka(), client_id="touchline-sink-replay", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await client.start()
    try:
        spans = {TopicPartition(topic, number): span for number, span in ranges.items()}
        client.assign(list(spans))
        ends = await client.end_offsets(list(spans))
        for partition, (first, _) in spans.items():
            client.seek(partition, first)
        records: Records = {partition: [] for partition in spans}
        left = {partition: min(end, ends[partition]) for partition, (_, end) in spans.items()}
        while left := {partition: end for partition, end in left.items() if await client.position(partition) < end}:
            for partition, some in (await client.getmany(*left, timeout_ms=POLL_MS, max_records=STEP_RECORDS)).items():
                records[partition] += [record for record in some if record.offset < spans[partition][1]]
        return {partition: some for partition, some in records.items() if some}
    finally:
        await close_within(client.stop(), CLOSE_SECONDS)


async def close_within(closing: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait at most `seconds` for a client to close. The client may ignore a cancellation, so it is not cancelled.

    All important requests are acknowledged by then, and the broker notices an open connection that ends with the process.
    """
    task = asyncio.create_task(closing)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        log.warning("a Kafka client did not close within %.0f s and is abandoned", seconds)
    elif not task.cancelled() and (error := task.exception()):
        log.info("a Kafka client failed while closing: %s", type(error).__name__)
