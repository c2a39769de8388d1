"""The `debezium` connector on a real Kafka: page edges, transactions, retention, recreated topics, kills, backfills."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from connectors.contract import Cursor, Record
from connectors.debezium.cluster import Message
from connectors.debezium.connector import Connector
from connectors.errors import CursorExpiredError
from connectors.settings import open_connector
from deploy.local.state import Stack
from schemas.errors import RetryableError
from schemas.records.fields import milliseconds
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS, source_topic
from tests.harness.connectors import connect, dead_letters, kill_at_each_step, published, records, states, wait_for_exit
from tests.harness.memory_use import max_live_objects
from tests.harness.waiting import eventually

pytestmark = pytest.mark.integration
DAY = datetime(2026, 3, 1, tzinfo=UTC)
STREAM = "orders:0"
MAP = {
    "type": "'order.placed'",
    "channel": "'web'",
    "occurred_at": "epoch_ms(source.ts_ms)",
    "identifiers": {"erp_party": "id(after.customer)"},
    "order_id": "id(key.id)",
}


class Topic:
    """A topic with changes in Debezium's format, and the connector that reads it."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self.kafka, self.folder, self.connectors = kafka, folder, list[Connector]()
        self.name = f"dbz-{uuid4().hex[:12]}"
        self.topic = f"{self.name}.public.orders"
        self.admin = KafkaAdminClient(**kafka.kafka_python())

    def create(self, partitions: int = 1) -> None:
        self.admin.create_topics({self.topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)

    def put(self, *numbers: int, at: datetime = DAY, partition: int = 0, producer: KafkaProducer | None = None) -> None:
        """Publish the creation of these orders, all with the same time."""
        with closing(KafkaProducer(**self.kafka.kafka_python(), linger_ms=20)) as ours:
            for number in numbers:
                key, value = {"id": number}, change(number, at)
                sent = {"key": json.dumps(key).encode(), "value": json.dumps(value).encode(), "timestamp_ms": milliseconds(at)}
                (producer or ours).send(self.topic, partition=partition, **sent)
            (producer or ours).flush()

    def settings(self, **given: Any) -> Path:
        path = self.folder / "settings.yaml"
        orders = {"topic": self.topic, "source": "erp", "system": "shop", "map": MAP}
        where = {"name": self.name, "bootstrap_servers": self.kafka.bootstrap_servers, "poll_seconds": 0.2, "timeout_seconds": 5}
        path.write_text(yaml.safe_dump({**where, "topics": {"orders": orders}, **given}))
        return path

    def open(self, **given: Any) -> Connector:
        found = open_connector("debezium", self.settings(**given), {})
        assert isinstance(found, Connector)
        self.connectors.append(found)
        return found

    def run(self, *options: str, **given: Any) -> str:
        process = connect(self.settings(**given), self.kafka, *options, "--no-restart", connector="debezium")
        code, out, err = wait_for_exit(process, 60)
        assert code == 0, out + err
        return " ".join((out + err).split())

    def close(self) -> None:
        for each in self.connectors:
            each.close()
        self.admin.close()


def change(number: int, at: datetime) -> dict[str, Any]:
    source = {"connector": "postgresql", "ts_ms": milliseconds(at), "snapshot": "false", "lsn": 1_000 + number}
    return {"before": None, "after": {"id": number, "customer": f"c{number}"}, "source": source, "op": "c", "ts_ms": 0}


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture
def topic(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Topic]:
    with closing(Topic(kafka, tmp_path)) as found:
        yield found


def read(connector: Connector, cursor: Cursor | None = None) -> tuple[Counter[int], Cursor | None]:
    found: Counter[int] = Counter()
    for batch in connector.read(STREAM, cursor):
        found.update(record.data["key"]["id"] for record in batch.records if isinstance(record, Record))
        cursor = json.loads(json.dumps(dict(batch.cursor)))
    return found, cursor


def test_changes_of_one_time_are_read_once_across_pages_and_after_any_batch(topic: Topic) -> None:
    topic.create()
    topic.put(*range(35))
    batches = list(topic.open(batch=10).read(STREAM, None))
    assert [len(batch.records) for batch in batches] == [10, 10, 10, 5]
    for cut, batch in enumerate(batches, 1):
        rest, _ = read(topic.open(batch=10), batch.cursor)
        assert rest == Counter(range(10 * cut, 35))


@pytest.mark.parametrize("kind", [Record, Message])
def test_at_most_two_batches_are_in_memory(topic: Topic, kind: type) -> None:
    topic.create()
    topic.put(*range(80))
    assert 0 < max_live_objects(topic.open(batch=10).read(STREAM, None), kind, 8) <= 20


def test_record_published_during_round_waits_for_next_round(topic: Topic) -> None:
    topic.create()
    topic.put(*range(10))
    connector = topic.open(batch=5)
    batches = connector.read(STREAM, None)
    first = next(batches)
    topic.put(*range(10, 20))
    rest = list(batches)
    assert sum(len(batch.records) for batch in [first, *rest]) == 10
    assert read(connector, rest[-1].cursor)[0] == Counter(range(10, 20))


def test_aborted_transaction_is_skipped_and_open_one_is_awaited(topic: Topic) -> None:
    topic.create()
    with closing(KafkaProducer(**topic.kafka.kafka_python(), transactional_id=topic.name)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        topic.put(1, 2, producer=producer)
        producer.abort_transaction()
        producer.begin_transaction()
        topic.put(3, producer=producer)
        producer.commit_transaction()
        producer.begin_transaction()
        topic.put(4, producer=producer)
        connector = topic.open()
        first, cursor = read(connector)
        producer.commit_transaction()
    assert first == Counter([3])
    second: Counter[int] = Counter()

    def has_read_more() -> bool:
        """Read another round: Kafka writes the commit marker after it answered the producer."""
        nonlocal cursor
        found, cursor = read(connector, cursor)
        second.update(found)
        return bool(second)

    eventually(has_read_more)
    assert second == Counter([4])
    assert [batch.records for batch in connector.read(STREAM, cursor)] == [()]
    assert list(connector.read(STREAM, cursor)) == [], "an idle stream saves its state once, then at most every half minute"


def test_expired_records_are_gap_and_reading_continues(topic: Topic) -> None:
    topic.create()
    topic.put(*range(10))
    topic.run("--once")
    topic.put(*range(10, 20), at=DAY + timedelta(hours=1))
    topic.admin.delete_records({TopicPartition(topic.topic, 0): 15})
    (state,) = states(topic.kafka, topic.name).values()
    with pytest.raises(CursorExpiredError, match="no records before offset 15"):
        read(topic.open(), json.loads(state.cursor))
    topic.run("--once")
    [letter] = records(topic.kafka, DEAD_LETTERS, topic.name)
    assert letter["reason"] == "gap"
    assert b'"offset": 10' in letter["payload"]
    assert orders(topic) == {*range(10), *range(15, 20)}


def test_recreated_topic_is_gap_and_is_read_from_its_beginning(topic: Topic) -> None:
    topic.create()
    topic.put(*range(10))
    topic.run("--once")
    topic.admin.delete_topics([topic.topic])
    topic.create()
    topic.put(*range(20, 40), at=DAY + timedelta(hours=1))
    topic.run("--once")
    assert orders(topic) == {*range(10), *range(20, 40)}
    assert len(dead_letters(topic.kafka, topic.name)) == 1


def orders(topic: Topic) -> set[int]:
    return {int(each["order_id"]) for each in records(topic.kafka, source_topic("erp"), topic.name)}


def test_kill_at_each_step_neither_loses_nor_repeats_changes(topic: Topic) -> None:
    topic.create(partitions=2)
    for partition in (0, 1):
        topic.put(*range(partition * 1_000, partition * 1_000 + 1_000), partition=partition)
    settings = topic.settings(batch=100)
    kill_at_each_step(settings, topic.kafka, "debezium")
    topic.run("--once")
    assert orders(topic) == set(range(2_000))
    assert len(set(published(topic.kafka, topic.name))) == 2_000
    found = states(topic.kafka, topic.name)
    assert {name: (state.published, state.dead_lettered) for name, state in found.items()} == {
        "orders:0": (1_000, 0),
        "orders:1": (1_000, 0),
    }


def test_backfill_reads_changes_before_start(topic: Topic) -> None:
    topic.create()
    for number in range(20):
        topic.put(number, at=DAY + number * timedelta(hours=1))
    start = DAY + timedelta(hours=10)
    topic.run("--once", start=start)
    assert orders(topic) == set(range(10, 20))
    topic.run("--backfill", "2026-03-01 05:00:00", start=start)
    assert orders(topic) == set(range(5, 20))
    ids = published(topic.kafka, topic.name)
    assert len(set(ids)) == 15


def test_partitions_added_later_are_read(topic: Topic) -> None:
    topic.create()
    connector = topic.open()
    assert list(connector.list_streams({})) == ["orders:0"]
    topic.admin.create_partitions({topic.topic: 3})
    assert list(connector.list_streams({})) == ["orders:0", "orders:1", "orders:2"]


def test_check_reports_each_fault_in_one_line(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    assert topic.open().check() == f"0 of 1 topics, 0 partitions; no topic yet: {topic.topic}"
    assert list(topic.open().list_streams({})) == []
    assert f"no topic {topic.topic} yet" in caplog.text
    topic.create()
    topic.put(1)
    assert topic.open().check() == "1 of 1 topics, 1 partitions"
    assert "set `unwrapped: false`" in topic.open(unwrapped=True).check()
    with pytest.raises(RetryableError, match="check `url`, and that the source is running"):
        topic.open(format="avro", registry="http://127.0.0.1:9").check()
    process = connect(topic.settings(bootstrap_servers="127.0.0.1:9"), topic.kafka, "--check", connector="debezium")
    code, _, err = wait_for_exit(process)
    assert code != 0
    assert "Kafka at 127.0.0.1:9: no server listens there" in " ".join(err.split())
    assert "correct bootstrap_servers" in " ".join(err.split())
