"""What the tests of `touchline work` share: touchpoints to publish, the worker as a real process, and what it left on Kafka."""

import asyncio
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import psutil
from kafka import KafkaConsumer, TopicPartition

from deploy.local import state
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode
from schemas.wire.topics import IDENTITY_REQUESTS, RESOLVED, TOPICS, source_topic
from streams.contract import Output
from streams.engine.producer import Producer
from streams.engine.worker import GROUP
from tests.harness.stack import TOUCHLINE
from tests.harness.topics import read_topic

ERP = source_topic("erp")
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


def order(number: int, run: str, customer: int, at: int = 1_760_000_000_000) -> dict[str, Any]:
    """The order with this number in a run of a test."""
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


def publish(orders: Iterable[Mapping[str, Any]]) -> None:
    """Returns when Kafka has all of them; those of a customer stay in order."""
    keyed = ((fields["identifiers"][0]["value"].encode(), encode("erp", dict(fields))) for fields in orders)
    asyncio.run(_publish([Output(ERP, crc32(key) % PARTITIONS[ERP], key, value) for key, value in keyed]))


async def _publish(outputs: list[Output]) -> None:
    producer = await Producer.open(KafkaSettings())
    try:
        await producer.publish(outputs)
    finally:
        await producer.close()


@contextmanager
def silent_kafka() -> Iterator[None]:
    """Kafka is suspended for the block: it holds its connections and answers nothing."""
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
def worker(name: str, log: Path, program: tuple[str, ...] = (str(TOUCHLINE),)) -> Iterator[subprocess.Popen[bytes]]:
    """`touchline work --no-restart` as a process of its own, killed at the end where it still runs."""
    with log.open("ab") as out:
        process = subprocess.Popen([*program, "work", "--name", name, "--no-restart"], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def page(log: Path, name: str, number: int = -1) -> tuple[int, str]:
    """What the worker that wrote this log answers at a page; 0 while it has not begun to serve."""
    ports = re.findall(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", log.read_text())
    if not ports:
        return 0, ""
    try:
        with urllib.request.urlopen(f"{ports[number]}/{name}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def metric(log: Path, name: str) -> float:
    """A metric of the worker that wrote this log, by name and labels as they are printed."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", page(log, "metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def resolved(run: str) -> list[bytes]:
    """The event ids in `touchline.resolved` of a run, each as often as it was put out."""
    found = [decode(record.value) for record in read_topic(RESOLVED)]
    touchpoints = [decode(fields["touchpoint"])[1] for name, fields in found if name == "resolved"]
    return [fields["event_id"] for fields in touchpoints if fields["system"] == run]


def waiting(*topics: str) -> int:
    """Records of the topics that the workers have not committed."""
    consumer = KafkaConsumer(**KafkaSettings().kafka_python(), group_id=GROUP, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, each) for topic in topics for each in range(PARTITIONS[topic])]
        ends = consumer.end_offsets(partitions)
        return sum(ends[partition] - (consumer.committed(partition) or 0) for partition in partitions)
    finally:
        consumer.close()


def drained() -> bool:
    return waiting(ERP, IDENTITY_REQUESTS, RESOLVED) == 0
