"""Workers killed and frozen in mid-work, with rebalances in between: what remains is what a plain model says."""

import os
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Self

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.codec import decode, encode
from schemas.settings import KafkaSettings
from schemas.topics import CUSTOMER_STATE, DEAD_LETTERS, IDENTITY, RESOLVED, SATISFACTION, TOPICS, source_topic
from schemas.touchpoint import event_id
from streams.engine.store import FENCE_BYTES
from streams.signals import signals
from streams.steps.customer import Block, Customer, Touchpoint, decode_customer, decode_seen
from streams.steps.fold import Codec, fold
from tests.conftest import TOUCHLINE
from tests.unit.chain import kept

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(240)]
TOUCHPOINTS = 12_000
CUSTOMERS = 600
POISON = 25
KILLS = 6
FROZEN_SECONDS = 14.0
KINDS = (("erp", "order.placed"), ("erp", "payment.failed"), ("support", "ticket.reopened"), ("support", "ticket.resolved"))
WORKER_TOPICS = [topic for topic in TOPICS if topic.name in {*map(source_topic, ("erp", "support")), RESOLVED}]


def life(chance: random.Random, number: int) -> dict[str, Any]:
    customer = chance.randrange(CUSTOMERS)
    source, kind = chance.choice(KINDS)
    names = [{"kind": "email", "value": f"c{customer}@example.org"}, {"kind": "erp_party", "value": f"sap/{customer}"}]
    return {
        "event_id": event_id("crash", str(number), "1").bytes,
        "source": source,
        "system": "crash",
        "connector": "crash",
        "type": kind,
        "channel": "web",
        "occurred_at": 1_760_000_000_000 + chance.randrange(200) * 86_400_000,
        "received_at": 1_780_000_000_000,
        "identifiers": chance.sample(names, k=chance.choice((1, 1, 2))),
        "attributes": {},
    }


def publish(sent: list[dict[str, Any]], chance: random.Random) -> None:
    producer = KafkaProducer(**KafkaSettings().kafka_python(), linger_ms=20, batch_size=131_072)
    poison_at = set(chance.sample(range(len(sent)), POISON))
    for number, fields in enumerate(sent):
        topic, key = source_topic(fields["source"]), fields["identifiers"][0]["value"].encode()
        producer.send(topic, encode(fields["source"], fields), key=key)
        if number in poison_at:
            producer.send(topic, b"poison %d" % number, key=key)
    producer.flush()
    producer.close()


def committed_and_end(consumer: KafkaConsumer) -> Iterator[tuple[TopicPartition, int, int]]:
    partitions = [TopicPartition(topic.name, each) for topic in WORKER_TOPICS for each in range(topic.partitions)]
    partitions.append(TopicPartition("touchline.identity-requests", 0))
    ends = consumer.end_offsets(partitions)
    for partition in partitions:
        yield partition, consumer.committed(partition) or 0, ends[partition]


def drained() -> bool:
    consumer = KafkaConsumer(**KafkaSettings().kafka_python(), group_id="touchline-work", enable_auto_commit=False)
    try:
        return all(committed == end for _, committed, end in committed_and_end(consumer))
    finally:
        consumer.close()


def read(topic: str) -> Iterator[Any]:
    """Every record of a topic, in the order of each partition."""
    count = next(each.partitions for each in TOPICS if each.name == topic)
    partitions = [TopicPartition(topic, each) for each in range(count)]
    consumer = KafkaConsumer(**KafkaSettings().kafka_python(), enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for records in consumer.poll(timeout_ms=500).values():
            yield from records
    consumer.close()


class Workers:
    """Two real workers, each with a folder of its own."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        self.running[name] = subprocess.Popen(
            [TOUCHLINE, "work", "--name", name, "--no-restart"], stdout=self.log, stderr=self.log
        )

    def kill(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def freeze(self, name: str, seconds: float) -> None:
        """For longer than the group waits: the other one takes over, and this one wakes up in the middle of a chunk."""
        self.running[name].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.running[name].send_signal(signal.SIGCONT)

    def supervise(self) -> None:
        """What a supervisor does: one that ended itself is started again; nothing else may end one."""
        for name, process in list(self.running.items()):
            code = process.poll()
            assert code in (None, 70), f"worker {name} ended with {code}"
            if code is not None:
                self.start(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def stop(self) -> list[int]:
        for process in self.running.values():
            process.terminate()
        return [process.wait(timeout=15) for process in self.running.values()]


@pytest.fixture(scope="module")
def survived(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Publish, kill workers while they work, let them finish; returns what was sent."""
    chance = random.Random(int(os.environ.get("TOUCHLINE_CRASH_SEED", "11")))
    ensure_topics(KafkaSettings(), dry_run=False)
    sent = [life(chance, number) for number in range(TOUCHPOINTS)]
    with (tmp_path_factory.mktemp("workers") / "log").open("wb") as log, Workers(log) as workers:
        workers.start("one")
        publish(sent[: TOUCHPOINTS // 2], chance)
        workers.start("two")
        publish(sent[TOUCHPOINTS // 2 : 2 * TOUCHPOINTS // 3], chance)
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.5, 4))
            victim = chance.choice(["one", "two"])
            workers.kill(victim)
            workers.start(victim)
        publish(sent[2 * len(sent) // 3 :], chance)
        workers.freeze(chance.choice(["one", "two"]), FROZEN_SECONDS)
        deadline = time.monotonic() + 120
        while not drained():
            assert time.monotonic() < deadline, "the workers do not get to the end"
            workers.supervise()
            time.sleep(1)
        # one that was started again just now ends by the signal itself: it has nothing in hand yet
        assert set(workers.stop()) <= {0, -signal.SIGTERM}
    return sent


def standing_rows() -> dict[bytes, tuple[Customer, list[Touchpoint]]]:
    """Each customer's row, and the touchpoints that it keeps."""
    newest = {record.key: record.value[FENCE_BYTES:] for record in read(CUSTOMER_STATE)}
    rows = {key: decode_customer(value) for key, value in newest.items() if len(key) == 16}
    return {key: (row, kept(key, newest)) for key, row in rows.items() if row.moved_to is None}


def seen() -> dict[bytes, Touchpoint]:
    """Every touchpoint of the log as signals look at it."""
    records = [fields for name, fields in (decode(r.value) for r in read(RESOLVED)) if name == "resolved"]
    return {each.id: each for each in (decode_seen(fields["seen"]) for fields in records)}


def test_every_touchpoint_is_in_exactly_one_customers_row(survived: list[dict[str, Any]]) -> None:
    found = sorted(each.id for _, touchpoints in standing_rows().values() for each in touchpoints)
    assert found == sorted(fields["event_id"] for fields in survived)


def test_every_state_equals_a_plain_fold_of_its_touchpoints(survived: list[dict[str, Any]]) -> None:
    logged = seen()
    for customer_id, (row, touchpoints) in standing_rows().items():
        model = Customer()
        fold(signals(), Codec(signals()), customer_id, model, [logged[each.id] for each in touchpoints], no_block)
        assert row == model


def no_block(slot: int) -> Block:
    raise AssertionError("a customer has more touchpoints here than fit into the tail")


def test_customers_are_the_ones_that_share_identifiers(survived: list[dict[str, Any]]) -> None:
    joined = {
        identifier["value"] for fields in survived if len(fields["identifiers"]) == 2 for identifier in fields["identifiers"]
    }
    groups: defaultdict[str, set[bytes]] = defaultdict(set)
    for fields in survived:
        name = fields["identifiers"][0]["value"]
        number = name.removeprefix("c").removeprefix("sap/").partition("@")[0]
        groups[number if name in joined else name].add(fields["event_id"])
    found = [{each.id for each in touchpoints} for _, touchpoints in standing_rows().values() if touchpoints]
    assert sorted(map(sorted, found)) == sorted(map(sorted, groups.values()))


def test_readings_for_the_reader_equal_the_models(survived: list[dict[str, Any]]) -> None:
    newest: dict[bytes, dict[str, Any]] = {}
    for record in read(SATISFACTION):
        reading = decode(record.value)[1]
        if reading["version"] >= newest.get(reading["reading_id"], reading)["version"]:
            newest[reading["reading_id"]] = reading
    logged = seen()
    for customer_id, (_, rows) in standing_rows().items():
        touchpoints = [logged[each.id] for each in rows]
        folded = fold(signals(), Codec(signals()), customer_id, Customer(), touchpoints, no_block)
        for output in folded.outputs if folded else []:
            if output.topic == SATISFACTION:
                expected = decode(output.value)[1]
                assert {**newest[expected["reading_id"]], "version": 0} == {**expected, "version": 0}


def test_poison_is_in_the_dead_letters_whole_and_once_for_the_reader(survived: list[dict[str, Any]]) -> None:
    letters = {fields["letter_id"]: fields for _, fields in (decode(record.value) for record in read(DEAD_LETTERS))}
    assert len(letters) == 3 * POISON, "each part of the touchpoints came with its own poison"
    assert all(letter["payload"].startswith(b"poison ") and letter["stage"] == "identify" for letter in letters.values())


def test_the_identity_log_names_each_identifier_once_per_customer(survived: list[dict[str, Any]]) -> None:
    log = [(record.key, *decode(record.value)) for record in read(IDENTITY)]
    customers: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for key, name, fields in log:
        if name == "edge":
            customers[key.partition(b"\x1f")[2]].add(fields["customer_id"])
    assert set(customers) == {identifier["value"].encode() for fields in survived for identifier in fields["identifiers"]}
    assert all(len(each) == 1 for each in customers.values())
    merges = {fields["from_customer"]: fields["to_customer"] for _, name, fields in log if name == "merge"}
    assert merges
    assert not set(merges) & set(merges.values()), "every merge points at a customer that still stands"
