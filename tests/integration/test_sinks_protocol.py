"""The intent in the commit metadata, on a real Kafka and ClickHouse: the next owner stores exactly its ranges.

Rows are counted in the tables themselves, and nothing is merged meanwhile: a block that was stored twice would stay to be seen.
"""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from sinks.chunk import transform
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from sinks.intent import Intent
from sinks.retry import write
from tests.harness.sink_faults import count_rows, running_sink, table_without_merges
from tests.harness.sinks import ask, ask_value, publish, reading, resolved, sink, store
from tests.harness.stack import TOUCHLINE
from tests.harness.topics import read_topic
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
SIGNALS = load_tables()["signals"]
BEGUN = "sink signals finishes a started chunk"
CRASH = """
import asyncio, os, sys
from sinks.ownership import Ownership
from sinks.runner import Runner

async def after_intent(self, intent, intend=Runner._commit_intent):
    await intend(self, intent)
    os._exit(137)

async def before_commit(self, offsets):
    os._exit(137)

async def wait(self, held):
    if held:  # a new consumer holds no partition that a rebalance can revoke
        await asyncio.sleep(600)

if sys.argv[1] == "after intent":
    Runner._commit_intent = after_intent
elif sys.argv[1] == "before commit":
    Runner._commit = before_commit
else:
    Runner._commit = Ownership.on_partitions_revoked = wait
sys.argv = ["touchline", "sink", "touchpoints", "--no-restart"]
from deploy.cli import main
main()
"""


@pytest.fixture(scope="module", autouse=True)
def ready(migrated: Stack) -> Iterator[None]:
    """Create topics and tables, without merges."""
    with table_without_merges("touchpoints"), table_without_merges("signals"):
        yield


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


def crash(moment: str) -> None:
    """Run a sink of touchpoints that crashes in its first chunk."""
    died = subprocess.run([sys.executable, "-c", CRASH, moment], capture_output=True, timeout=60, check=False)
    assert died.returncode == 137, died.stderr


@pytest.mark.parametrize(("moment", "stored_by_then"), [("after intent", False), ("before commit", True)])
def test_crash_around_the_insert_stores_each_row_once(moment: str, stored_by_then: bool, name: str) -> None:  # noqa: FBT001
    store("touchpoints")
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(5_000)])
    crash(moment)
    stored, different = count_rows("touchpoints", name)
    assert (stored == different, stored > 0) == (True, stored_by_then)
    publish("touchline.resolved", "resolved", [resolved(system=name)])
    assert "sink touchpoints finishes a started chunk: 1 " in store("touchpoints")
    assert count_rows("touchpoints", name) == (5_001, 5_001)


def test_chunk_whose_partitions_move_to_two_sinks_is_stored_once(name: str, tmp_path: Path) -> None:
    """Both sinks read all ranges of the chunk, including the partitions of the other.

    The first owner stays in the group until both have joined, so that one rebalance gives partitions to each.
    """
    store("touchpoints")
    publish("touchline.resolved", "resolved", [resolved(system=name) for _ in range(5_000)])
    logs = [tmp_path / "one", tmp_path / "other"]
    command = [str(TOUCHLINE), "sink", "touchpoints", "--until-idle", "2"]
    processes = []
    owner = subprocess.Popen([sys.executable, "-c", CRASH, "no commit"], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: count_rows("touchpoints", name)[0] > 0)
        for log in logs:
            with log.open("wb") as out:
                processes.append(subprocess.Popen(command, stdout=out, stderr=out))
        eventually(lambda: all("sink touchpoints started" in log.read_text() for log in logs))
    finally:
        owner.kill()
        owner.wait()
    assert [process.wait(60) for process in processes] == [0, 0]
    found = [re.findall(r"finishes a started chunk: (.*)", log.read_text()) for log in logs]
    assert len(found[0]) == 1
    assert found[0] == found[1]
    assert count_rows("touchpoints", name) == (5_000, 5_000)


def test_rebalances_store_each_record_once(name: str, tmp_path: Path) -> None:
    """A rebalance waits for the current chunk, and the next owner continues where the last one ended."""
    records = [resolved(system=name) for _ in range(24_000)]

    def feed() -> None:
        for part in range(24):
            publish("touchline.resolved", "resolved", records[part::24])

    feeder = threading.Thread(target=feed)
    with running_sink(tmp_path / "staying", "touchpoints"):
        feeder.start()
        for number in range(2):
            with running_sink(tmp_path / f"coming-{number}", "touchpoints"):
                time.sleep(1)
        feeder.join()
        eventually(lambda: count_rows("touchpoints", name)[1] == 24_000)
    assert count_rows("touchpoints", name) == (24_000, 24_000)


class Begun:
    """Started chunk of readings: its `intent` is committed, and the group has no member."""

    def __init__(self, version: str = SIGNALS.version, count: int = 400) -> None:
        store("signals")
        self.definition = uuid4().hex
        publish("touchline.signals", "reading", [reading(signal="test", definition=self.definition) for _ in range(count)])
        self.records = [record for record in read_topic("touchline.signals") if self.definition.encode() in record.value]
        ranges = {
            number: (min(offsets), max(offsets) + 1)
            for number in {record.partition for record in self.records}
            if (offsets := [record.offset for record in self.records if record.partition == number])
        }
        self.intent = Intent(version, uuid4().hex[:16], ranges)
        self.commit(str(self.intent))

    def commit(self, metadata: str) -> None:
        """Commit the first offsets of the chunk."""
        consumer = KafkaConsumer(**KafkaSettings().kafka_python(), group_id="touchline-sink-signals", enable_auto_commit=False)
        try:
            partitions = {TopicPartition("touchline.signals", number): first for number, (first, _) in self.intent.ranges.items()}
            consumer.assign(list(partitions))
            consumer.commit({one: OffsetAndMetadata(first, metadata, -1) for one, first in partitions.items()})
        finally:
            consumer.close()

    def insert(self) -> None:
        """Insert as the first sink did, with the version that the intent names."""
        table, client = SIGNALS._replace(version=self.intent.version), ClickHouse()
        ordered = sorted(self.records, key=lambda record: (record.partition, record.offset))
        try:
            write(table, client, transform(table, ordered), self.intent.token(table), threading.Event())
        finally:
            client.close()

    def count_rows(self) -> tuple[int, int]:
        """Return the number of rows in the table and in the view."""
        stored = ask_value(f"SELECT count() FROM {SIGNALS.stored} WHERE definition = '{self.definition}'")
        return stored, ask_value(f"SELECT count() FROM touchline.signals WHERE definition_version = '{self.definition}'")


def test_started_chunk_is_stored_before_later_records() -> None:
    begun = Begun()
    publish("touchline.signals", "reading", [reading(signal="test", definition=begun.definition) for _ in range(100)])
    assert f"{BEGUN}: {begun.intent}" in store("signals")
    parts = ask(f"SELECT count() AS n FROM {SIGNALS.stored} WHERE definition = '{begun.definition}' GROUP BY _part ORDER BY n")
    assert parts[-1]["n"] == 400
    assert begun.count_rows() == (500, 500)


def test_server_drops_a_started_chunk_that_it_stored_already() -> None:
    begun = Begun()
    begun.insert()
    assert begun.count_rows() == (400, 400)
    assert BEGUN in store("signals")
    assert begun.count_rows() == (400, 400)
    assert BEGUN not in store("signals")


def test_chunk_of_another_version_is_stored_again_and_shown_once() -> None:
    begun = Begun(version="older")
    begun.insert()
    log = store("signals")
    assert "sink signals: another version started the chunk, so the table may store it twice" in log
    assert begun.count_rows() == (800, 400)


def test_foreign_commit_metadata_stops_the_table_with_advice() -> None:
    begun = Begun(count=10)
    begun.commit("checkpoint of another tool")
    process = sink("signals", "--until-idle", "1")
    try:
        _, log = process.communicate(timeout=60)
    finally:
        begun.commit("")
    assert process.returncode == 2
    assert "start the version that wrote them, or reset the offsets of the group" in log
    store("signals")
    assert begun.count_rows() == (10, 10)
