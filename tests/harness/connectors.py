"""`touchline connect` as a process: files to read, the command, its kills, and its records on Kafka."""

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
    """Write settings of an instance that reads `orders*.csv` below `folder`/drops."""
    (folder / "drops").mkdir(exist_ok=True)
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"name": name, "root": "drops", "poll_seconds": 0.2, "feeds": {"orders": FEED}}))
    return path


def write_orders(path: Path, first: int, count: int) -> list[int]:
    """Write a file of `count` orders: every 50th is invalid, every 70th repeated at the end. Return the number of each kind."""
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
    ("flush", 3, True),  # second batch sent, no acknowledgement awaited
    ("flush", 3, False),  # acknowledged, cursor not yet sent
    ("flush", 4, True),  # cursor sent, not acknowledged
    ("flush", 4, False),  # cursor acknowledged, metrics not yet counted
]


def killed_command(method: str, fatal_call: int, *, before: bool) -> tuple[str, ...]:
    """Return a `touchline` command that kills itself before or after the given call of a publisher's method."""
    return (sys.executable, "-c", DYING.format(method=method, fatal_call=fatal_call, before=before))


def connect(
    settings: Path,
    kafka: KafkaSettings,
    *options: str,
    program: tuple[str, ...] = TOUCHLINE,
    connector: str = "files",
    **environment: str,
) -> subprocess.Popen[str]:
    """Start `touchline connect`."""
    command = [*program, "connect", connector, "--settings", str(settings), *options]
    environment = {**os.environ, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_at_each_step(settings: Path, kafka: KafkaSettings, connector: str, **environment: str) -> None:
    """Run the command once for each of STEPS and kill it there. The source must hold at least nine batches."""
    for method, fatal_call, before in STEPS:
        program = killed_command(method, fatal_call, before=before)
        code, _, err = wait_for_exit(connect(settings, kafka, "--once", program=program, connector=connector, **environment), 120)
        assert code == KILLED, f"the process ended before step {method} {fatal_call}: {err}"


def wait_for_exit(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a process; kill it after `seconds`."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def records(kafka: KafkaSettings, topic: str, connector: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of the records of a connector in a topic, with the Kafka key as `key`."""
    for record in read_topic(topic, settings=kafka):
        fields = decode(record.value)[1]
        if fields["connector"] == connector:
            yield {**fields, "key": record.key}


def published(kafka: KafkaSettings, connector: str) -> list[bytes]:
    return [record["event_id"] for record in records(kafka, "touchline.erp", connector)]


def dead_letters(kafka: KafkaSettings, connector: str) -> list[bytes]:
    return [record["letter_id"] for record in records(kafka, DEAD_LETTERS, connector)]


def totals(states: dict[str, ConnectorState]) -> list[int]:
    """Return published, dead-lettered and repeated records of all streams, after checking that each stream is complete."""
    for state in states.values():
        assert json.loads(state.cursor)["done"]
        assert state.read == state.published + state.dead_lettered + state.repeated
    return [sum(getattr(one, name) for one in states.values()) for name in ("published", "dead_lettered", "repeated")]


def states(kafka: KafkaSettings, connector: str) -> dict[str, ConnectorState]:
    return load_states(kafka, connector)


def select_new(connector: Connector, stream: str, batch: Batch, deduplication: StreamDeduplication) -> NewRecords:
    """Run step 2 of the runner for one batch."""
    return deduplication.select_new(encode_batch(connector, stream, batch), batch.phase)


def restart_deduplication(deduplication: StreamDeduplication, spec: StreamSpec) -> StreamDeduplication:
    """Return the deduplication of a new process, which holds only the saved part."""
    snapshots = deduplication.snapshots.pack() if deduplication.snapshots else None
    state = ConnectorState(recent=deduplication.recent.pack() or None, projections=snapshots, **EMPTY_STATE)
    return StreamDeduplication(state, spec)
