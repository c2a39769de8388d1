"""What the tests of `touchline connect` share: drops to read, the command as a real process, and what it left on Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from connectors.contract import Batch, Connector, StreamSpec
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from connectors.runtime.encode import encode_batch
from connectors.runtime.publisher import load_states
from schemas.records.connector_state import ConnectorState
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.topics import read_topic

EMPTY_STATE: dict[str, Any] = {
    "connector": "c",
    "stream": "s",
    "cursor": "{}",
    "read": 0,
    "published": 0,
    "dead_lettered": 0,
    "repeated": 0,
    "last_event_at": None,
    "last_success_at": datetime(2026, 1, 1, tzinfo=UTC),
}
FEED = {
    "files": "orders*.csv",
    "format": "csv",
    "source": "erp",
    "system": "sap",
    "columns": ["order_no", "changed_at", "customer_no", "total"],
    "key": "order_no",
    "version": "changed_at",
    "map": {
        "type": "'order.placed'",
        "channel": "'web'",
        "occurred_at": "iso(changed_at, 'UTC')",
        "identifiers": {"erp_party": "id(customer_no)"},
        "amount": "number(total)",
    },
}


def write_settings(folder: Path, name: str) -> Path:
    """Settings of an instance that reads `orders*.csv` below `folder`/drops."""
    (folder / "drops").mkdir(exist_ok=True)
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"name": name, "root": "drops", "poll_seconds": 0.2, "feeds": {"orders": FEED}}))
    return path


def write_orders(path: Path, first: int, count: int) -> list[int]:
    """A drop of `count` orders, every 50th bad, every 70th once more at the end; returns how many are good, bad, repeated."""
    lines, again, bad = ["order_no,changed_at,customer_no,total"], [], 0
    for number in range(first, first + count):
        wrong = number % 50 == 0
        lines.append(f"{number},2026-01-01T00:00:00Z,{number % 97 + 1},{'much' if wrong else number}")
        bad += wrong
        if number % 70 == 0 and not wrong:
            again.append(lines[-1])
    path.write_text("\n".join([*lines, *again]) + "\n")
    return [count - bad, bad, len(again)]


TOUCHLINE = (str(Path(sys.executable).with_name("touchline")),)


DYING = """
import os, signal
from connectors.runtime.publisher import Publisher
from deploy.cli import main

def dying(method, fatal_call, *, before):
    calls = 0
    def call(*arguments):
        nonlocal calls
        calls += 1
        if before and calls == fatal_call:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments)
        if calls == fatal_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

Publisher.{method} = dying(Publisher.{method}, {fatal_call}, before={before})
main()
"""
KILLED = -9
STEPS = [
    ("send", 2, True),  # in the middle of the first batch
    ("flush", 3, True),  # everything of the second batch handed over, nothing awaited
    ("flush", 3, False),  # acknowledged, cursor not yet sent
    ("flush", 4, True),  # cursor sent, not acknowledged
    ("flush", 4, False),  # cursor acknowledged, totals not yet remembered
]


def dying(method: str, fatal_call: int, *, before: bool) -> tuple[str, ...]:
    """The `touchline` command that gets SIGKILL before or after that call of a method of the publisher."""
    return (sys.executable, "-c", DYING.format(method=method, fatal_call=fatal_call, before=before))


def connect(
    settings: Path,
    kafka: KafkaSettings,
    *options: str,
    program: tuple[str, ...] = TOUCHLINE,
    connector: str = "files",
    **environment: str,
) -> subprocess.Popen[str]:
    """`touchline connect` as a process of its own."""
    command = [*program, "connect", connector, "--settings", str(settings), *options]
    environment = {**os.environ, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at_each_step(settings: Path, kafka: KafkaSettings, connector: str, **environment: str) -> None:
    """One run for each of STEPS, killed there: whatever the source holds, at least nine batches of it."""
    for method, fatal_call, before in STEPS:
        program = dying(method, fatal_call, before=before)
        code, _, err = finished(connect(settings, kafka, "--once", program=program, connector=connector, **environment), 120)
        assert code == KILLED, f"it ended before step {method} {fatal_call}: {err}"


def finished(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Exit code and both outputs of a process that ends by itself; it is killed when it does not."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def records(kafka: KafkaSettings, topic: str, connector: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of what a connector has published to a topic so far, with each record's Kafka key as `key`."""
    for record in read_topic(topic, settings=kafka):
        fields = decode(record.value)[1]
        if fields["connector"] == connector:
            yield {**fields, "key": record.key}


def published(kafka: KafkaSettings, connector: str) -> list[bytes]:
    return [record["event_id"] for record in records(kafka, "touchline.erp", connector)]


def dead_letters(kafka: KafkaSettings, connector: str) -> list[bytes]:
    return [record["letter_id"] for record in records(kafka, DEAD_LETTERS, connector)]


def totals(states: dict[str, ConnectorState]) -> list[int]:
    """Published, dead-lettered and repeated over all streams; every stream is read to its end and its totals add up."""
    for state in states.values():
        assert json.loads(state.cursor)["done"]
        assert state.read == state.published + state.dead_lettered + state.repeated
    return [sum(getattr(one, name) for one in states.values()) for name in ("published", "dead_lettered", "repeated")]


def states(kafka: KafkaSettings, connector: str) -> dict[str, ConnectorState]:
    return load_states(kafka, connector)


def select_new(connector: Connector, stream: str, batch: Batch, deduplication: StreamDeduplication) -> NewRecords:
    """Steps 1 and 2 of the runner for one batch."""
    return deduplication.select_new(encode_batch(connector, stream, batch), batch.phase)


def restarted(deduplication: StreamDeduplication, spec: StreamSpec) -> StreamDeduplication:
    """The deduplication of a new process: it holds only what the state saves."""
    snapshots = deduplication.snapshots.pack() if deduplication.snapshots else None
    state = ConnectorState(recent=deduplication.recent.pack() or None, projections=snapshots, **EMPTY_STATE)
    return StreamDeduplication(state, spec)
