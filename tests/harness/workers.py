"""Real workers under test: touchpoints to publish, `touchline work` as a process, and its results on Kafka."""

import asyncio
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import psutil
from kafka import KafkaConsumer, TopicPartition

from deploy.local import state
from schemas.errors import RecordError
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode, extract_touchpoint
from schemas.wire.topics import IDENTITY_REQUESTS, RESOLVED, TOPICS, source_topic
from streams.contract import Output
from streams.engine.producer import Producer
from streams.engine.worker import GROUP
from tests.harness.http_pages import read_page
from tests.harness.stack import TOUCHLINE
from tests.harness.topics import read_topic

ERP = source_topic("erp")
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


def make_order(number: int, run: str, customer: int, at: int = 1_760_000_000_000) -> dict[str, Any]:
    """Return the touchpoint of order `number` in one run of a test."""
    return {
        "event_id": event_id(run, str(number), "1").bytes,
        "source": "erp",
        "system": run,
        "connector": "test",
        "type": "order.placed",
        "channel": "web",
        "occurred_at": at,
        "received_at": 1_780_000_000_000,
        "identifiers": [{"kind": "email", "value": f"{run}-{customer}@example.org"}],
        "attributes": {},
    }


def publish_orders(orders: Iterable[Mapping[str, Any]]) -> None:
    """Publish orders and wait until Kafka has all of them. Orders of one customer stay in order."""
    keyed = ((fields["identifiers"][0]["value"].encode(), encode("erp", dict(fields))) for fields in orders)
    asyncio.run(_publish([Output(ERP, crc32(key) % PARTITIONS[ERP], key, value) for key, value in keyed]))


def publish_touchpoints(touchpoints: Iterable[Mapping[str, Any]]) -> None:
    """Publish touchpoints of any source and wait until Kafka has all of them. They spread over the partitions by event id."""
    outputs = []
    for fields in touchpoints:
        topic, key = source_topic(fields["source"]), fields["event_id"]
        outputs.append(Output(topic, crc32(key) % PARTITIONS[topic], key, encode(fields["source"], dict(fields))))
    asyncio.run(_publish(outputs))


async def _publish(outputs: list[Output]) -> None:
    producer = await Producer.open(KafkaSettings())
    try:
        await producer.publish(outputs)
    finally:
        await producer.close()


@contextmanager
def suspended_kafka() -> Iterator[None]:
    """Suspend Kafka for the block: its connections stay open, and it answers nothing."""
    running = state.read()
    assert running is not None
    pid = running.service("kafka").pid
    assert pid is not None
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@contextmanager
def running_worker(name: str, log: Path, program: tuple[str, ...] = (str(TOUCHLINE),)) -> Iterator[subprocess.Popen[bytes]]:
    """Run `touchline work --no-restart` as a process, and kill it at the end if it still runs."""
    with log.open("ab") as out:
        process = subprocess.Popen([*program, "work", "--name", name, "--no-restart"], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def get_page(log: Path, name: str, number: int = -1) -> tuple[int, str]:
    """Return status and body of an HTTP page of the worker that wrote this log; status 0 while it does not serve."""
    ports = re.findall(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", log.read_text())
    if not ports:
        return 0, ""
    try:
        return read_page(f"{ports[number]}/{name}")
    except OSError:
        return 0, ""


def read_metric(log: Path, name: str) -> float:
    """Return a metric of the worker that wrote this log, by its printed name and labels; 0 if it is missing."""
    match = re.search(rf"^{re.escape(name)} (\S+)$", get_page(log, "metrics")[1], re.MULTILINE)
    return float(match[1]) if match else 0.0


def read_resolved_ids(run: str) -> list[bytes]:
    """Return the event ids of a run in `touchline.resolved`, including repetitions. It skips unreadable records."""
    touchpoints = []
    for record in read_topic(RESOLVED):
        with suppress(RecordError):
            name, fields = decode(record.value)
            if name == "resolved":
                touchpoints.append(extract_touchpoint(name, fields))
    return [fields["event_id"] for fields in touchpoints if fields["system"] == run]


def read_lag(*topics: str) -> int:
    """Return the consumer lag of the workers on the topics."""
    consumer = KafkaConsumer(**KafkaSettings().kafka_python(), group_id=GROUP, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, each) for topic in topics for each in range(PARTITIONS[topic])]
        ends = consumer.end_offsets(partitions)
        return sum(ends[partition] - (consumer.committed(partition) or 0) for partition in partitions)
    finally:
        consumer.close()


def is_drained() -> bool:
    """Return whether the workers have committed everything that was published."""
    return read_lag(ERP, IDENTITY_REQUESTS, RESOLVED) == 0
