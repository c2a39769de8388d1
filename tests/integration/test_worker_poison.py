"""Real workers and records that nobody can process: the worker continues, or ends once and then continues."""

import asyncio
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from deploy.local import state
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode
from schemas.wire.topics import CUSTOMER_STATE, DEAD_LETTERS, IDENTITY, IDENTITY_REQUESTS, IDENTITY_STATE, RESOLVED, TICKS
from tests.harness.stack import TOUCHLINE
from tests.harness.topics import read_topic
from tests.harness.waiting import eventually
from tests.harness.workers import (
    ERP,
    get_page,
    is_drained,
    make_order,
    publish_orders,
    read_lag,
    read_metric,
    read_resolved_ids,
    running_worker,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("own_topics")]
LARGE = 32 * 1024 * 1024
JUNK = b"junk"


@pytest.fixture
def run() -> str:
    return f"run-{uuid4().hex[:8]}"


def publish(topic: str, *records: tuple[bytes | None, bytes | None], partition: int = 0) -> list[int]:
    """Publish records one by one, compressed with gzip and of any size, and return their offsets."""

    async def send() -> list[int]:
        producer = AIOKafkaProducer(
            **KafkaSettings().aiokafka(), compression_type="gzip", max_request_size=LARGE, max_batch_size=LARGE
        )
        await producer.start()
        try:
            offsets = []
            for key, value in records:
                batch: Any = producer.create_batch()  # `send` refuses a record without key and value, a batch does not
                batch.append(timestamp=None, key=key, value=value)
                offsets.append((await (await producer.send_batch(batch, topic, partition=partition))).offset)
            return offsets
        finally:
            await producer.stop()

    return asyncio.run(send())


def publish_with_invalid_header(topic: str, key: bytes, value: bytes) -> None:
    """Publish a record whose header name is not UTF-8. Clients in other languages can; aiokafka's bytes are changed here."""

    async def send() -> None:
        producer = AIOKafkaProducer(**KafkaSettings().aiokafka())
        await producer.start()
        try:
            batch: Any = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=[("header-name", b"x")])
            made = bytearray(batch._build().replace(b"header-name", b"header-\xff\xfe\xfd\xfc"))
            struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
            batch._buffer = bytes(made)
            await (await producer.send_batch(batch, topic, partition=0))
        finally:
            await producer.stop()

    asyncio.run(send())


def read_dead_letters(run: str = "") -> list[dict[str, Any]]:
    """Return the dead letters; with a run, those whose record contains its name."""
    letters = [fields for name, fields in (decode(each.value) for each in read_topic(DEAD_LETTERS)) if name == "dead_letter"]
    return [fields for fields in letters if run.encode() in fields["payload"]]


def count_reasons(run: str = "") -> Counter[tuple[str, str]]:
    return Counter((fields["stage"], fields["reason"]) for fields in read_dead_letters(run))


def drain(name: str, log: Path, program: tuple[str, ...] = (str(TOUCHLINE),)) -> None:
    """Run a worker until everything is committed, and stop it, so that the group needs no ten seconds to forget it."""
    with running_worker(name, log, program) as process:
        eventually(lambda: get_page(log, "ready")[0] == 200)
        eventually(is_drained)
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(timeout=10) == 0, log.read_text()


def is_drained_with_ticks() -> bool:
    return is_drained() and read_lag(TICKS) == 0


def test_no_record_of_any_topic_ends_a_worker(tmp_path: Path, run: str) -> None:
    """A fresh worker also becomes ready, and recovers its state, with the junk in its changelogs and identity map."""
    log = tmp_path / "log"
    first = [make_order(number, run, number % 20) for number in range(200)]
    publish_orders(first)
    with running_worker(run, log) as process:
        eventually(is_drained)
        huge = make_order(1_000, run, 1_000) | {"attributes": {"note": "x" * 1_300_000}}
        publish(ERP, (b"huge", encode("erp", huge)))
        long = [make_order(2_000 + number, run, number % 2) | {"order_id": "x" * 700_000} for number in range(12)]
        publish(ERP, *((b"long", encode("erp", each)) for each in long), partition=3)
        unknown = [make_order(3_000 + number, run, 3_000) | {"order_id": "x" * 700_000} for number in range(12)]
        publish(ERP, *((b"long", encode("erp", each)) for each in unknown), partition=4)
        publish(IDENTITY, (b"n", JUNK), (b"\x00position", b"7"))
        for topic in (RESOLVED, TICKS, IDENTITY_REQUESTS, ERP):
            publish(topic, (JUNK, JUNK), (None, None), (JUNK, encode("tick", {"at": 1, "since": None})[:-1]))
        odd = {"customer_id": b"c" * 16, "stage": "", "seen": JUNK, "touchpoint": JUNK}
        publish(RESOLVED, (JUNK, encode("resolved", odd)))
        odd_header = make_order(3_500, run, 3)
        publish_with_invalid_header(ERP, b"k", encode("erp", odd_header))
        publish_with_invalid_header(TICKS, b"k", JUNK)
        publish_orders([make_order(4_000 + number, run, number % 20) for number in range(100)])
        eventually(is_drained_with_ticks)
        assert process.poll() is None, log.read_text()
        assert read_metric(log, f'touchline_skipped_records_total{{topic="{IDENTITY}"}}') == 2
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert "CRITICAL" not in log.read_text()
    reasons = count_reasons(run)
    assert sum(count for (_, reason), count in reasons.items() if reason == "too_large") == 25
    assert set(reasons) <= {("identify", "too_large"), ("link", "too_large")}
    resolved = set(read_resolved_ids(run))
    assert {each["event_id"] for each in (*first, odd_header)} <= resolved
    assert len(resolved) == 301

    for topic in (CUSTOMER_STATE, IDENTITY_STATE):
        key = next(record.key for record in read_topic(topic))
        publish(topic, (key, None), (key, JUNK), (key, b"junk of many bytes"))
    other = tmp_path / "other"
    with running_worker(f"{run}-2", other) as process:
        eventually(lambda: get_page(other, "ready")[0] == 200)
        publish_orders([make_order(5_000 + number, run, number % 20) for number in range(100)])
        eventually(is_drained)
        for topic in (CUSTOMER_STATE, IDENTITY_STATE):
            assert read_metric(other, f'touchline_skipped_records_total{{topic="{topic}"}}') == 3
        process.terminate()
        assert process.wait(timeout=10) == 0, other.read_text()
    assert len(set(read_resolved_ids(run))) == 401


FAILING_STEP = """
import time
from streams.steps.{module} import {step}
process = {step}.process
def fail(self, records, rows, refuse):
    if any(b"{marker}" in each.value for each in records):
        {failure}
    return process(self, records, rows, refuse)
{step}.process = fail
from deploy.cli import main
main()
"""


def with_failing_step(module: str, step: str, marker: str, failure: str) -> tuple[str, ...]:
    """Return the program of a worker in which a step fails on each record that contains the marker."""
    program = FAILING_STEP.format(module=module, step=step, marker=marker, failure=failure)
    return sys.executable, "-c", program


@pytest.mark.parametrize(("module", "step"), [("identify", "Identify"), ("join", "Join")])
def test_record_that_ends_a_worker_becomes_a_dead_letter_at_the_next_start(
    tmp_path: Path, run: str, module: str, step: str
) -> None:
    marker = f"marker-{run}"
    orders = [make_order(number, run, number % 50) for number in range(2_000)]
    orders[1_000]["attributes"] = {"note": marker}
    publish_orders(orders)
    log = tmp_path / "log"
    program = with_failing_step(module, step, marker, "raise RuntimeError('a defect')")
    with running_worker(run, log, program) as process:
        assert process.wait(timeout=60) == 70
    assert (state.home() / "work" / run / "crashes.json").exists()
    drain(run, log, program)
    reasons = count_reasons(marker)
    assert set(reasons) == {(module, "crash")}
    assert reasons.total() == 1 or module == "join", "identify may publish the record again after the crash of join"
    missing = {each["event_id"] for each in orders} - set(read_resolved_ids(run))
    assert missing == ({orders[1_000]["event_id"]} if module == "identify" else set())


def skip(*arguments: str | int) -> subprocess.CompletedProcess[str]:
    """Run `touchline skip`."""
    command: list[str | Path] = [TOUCHLINE, "skip", *map(str, arguments), "--reason", "it blocks the worker", "--yes"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_skip_lets_a_group_pass_a_record_that_blocks_the_worker(tmp_path: Path, run: str) -> None:
    """The worker is killed, so it has no time to remember its chunks, and the record blocks it at each start."""
    marker = f"marker-{run}"
    log = tmp_path / "log"
    drain(f"{run}-0", tmp_path / "before")
    value = encode("erp", make_order(0, run, 0) | {"attributes": {"note": marker}})
    good = make_order(1, run, 1)
    bad, after = publish(ERP, (b"bad", value), (b"good", encode("erp", good)), partition=5)
    program = with_failing_step("identify", "Identify", marker, "print('blocked', flush=True); time.sleep(3600)")
    with running_worker(run, log, program):
        eventually(lambda: "blocked" in log.read_text())
        refused = skip(ERP, 5, bad)
        assert refused.returncode == 1
        assert "1 active consumers" in refused.stderr
        assert "stop every `" in refused.stderr
    eventually(lambda: skip(ERP, 5, bad, "--dry-run").returncode == 0, every=1)  # the group forgets the killed worker
    assert read_dead_letters(marker) == []
    assert [skip(ERP, 5, offset).returncode for offset in (after, after + 5)] == [2, 2]
    done = skip(ERP, 5, bad)
    assert done.returncode == 0, done.stderr
    assert f"continues at offset {bad + 1}" in done.stdout
    (letter,) = read_dead_letters(marker)
    assert (letter["stage"], letter["reason"], letter["detail"]) == ("identify", "skipped", "it blocks the worker")
    assert (letter["topic"], letter["partition"], letter["offset"], letter["payload"]) == (ERP, 5, bad, value)
    again = skip(ERP, 5, bad)
    assert (again.returncode, "nothing to skip" in again.stdout) == (0, True)
    drain(run, log, program)
    assert read_resolved_ids(run) == [good["event_id"]]


def test_skip_includes_earlier_records_on_request(tmp_path: Path, run: str) -> None:
    values = [encode("erp", make_order(number, run, number)) for number in range(4)]
    offsets = publish(ERP, *((b"k", value) for value in values), partition=6)
    eventually(lambda: skip(ERP, 6, offsets[2], "--dry-run", "--with-earlier").returncode == 0, every=1)
    assert skip(ERP, 6, offsets[2]).returncode == 2
    assert skip(ERP, 6, offsets[2], "--with-earlier").returncode == 0
    assert [letter["payload"] for letter in read_dead_letters(run)] == values[:3]
    drain(run, tmp_path / "log")
    assert read_resolved_ids(run) == [make_order(3, run, 3)["event_id"]]
