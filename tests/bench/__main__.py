"""The whole line on this machine: touchpoints a second from Kafka to ClickHouse, who spends the time, and how late rows are.

Prints two tables and writes `tests/bench/results.json`. Broker, ClickHouse, worker and sink share this machine's cores.
"""

import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from kafka import KafkaProducer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from schemas.codec import encode
from schemas.settings import KafkaSettings
from schemas.topics import source_topic
from schemas.touchpoint import event_id
from sinks.clickhouse import ClickHouse
from tests.conftest import TOUCHLINE, running_stack

SEED = 7
TOUCHPOINTS, CUSTOMERS = 100_000, 10_000
RATE, SECONDS = 500, 30
KINDS = (("erp", "order.placed"), ("erp", "payment.received"), ("support", "ticket.opened"), ("support", "ticket.resolved"))
RESULTS = Path(__file__).with_name("results.json")


def touchpoint(chance: random.Random, number: int, run: str) -> dict[str, Any]:
    """A touchpoint of some customer, in the order of event time."""
    source, kind = chance.choice(KINDS)
    customer = chance.randrange(CUSTOMERS)
    now = time.time_ns() // 1_000_000
    identifiers = [{"kind": "email", "value": f"c{customer}@example.org"}]
    if chance.random() < 0.3:
        identifiers.append({"kind": "erp_party", "value": f"sap/{customer}"})
    return {
        "event_id": event_id("bench", str(number), run).bytes,
        "source": source,
        "system": "bench",
        "connector": "bench",
        "type": kind,
        "channel": "web",
        "occurred_at": now - 3_600_000 + number // 100,
        "received_at": now,
        "identifiers": identifiers,
        "attributes": {"region": "north"},
    }


def publish(numbers: Iterator[int], run: str) -> None:
    """Encode and send, as a connector's publisher would."""
    chance = random.Random(SEED)
    producer = KafkaProducer(**KafkaSettings().kafka_python(), linger_ms=5, batch_size=131_072, compression_type="lz4")
    for number in numbers:
        fields = touchpoint(chance, number, run)
        producer.send(
            source_topic(fields["source"]), encode(fields["source"], fields), key=fields["identifiers"][0]["value"].encode()
        )
    producer.flush()
    producer.close()


def paced(count: int, rate: int) -> Iterator[int]:
    """0 to count, `rate` a second."""
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        yield number


def stored(client: ClickHouse) -> int:
    """Touchpoints through the view."""
    return int(client.query("SELECT count() FROM touchline.touchpoints WHERE connector = 'bench'").rows[0][0])


def wait_for(client: ClickHouse, count: int, what: str) -> float:
    """Seconds until the view shows `count` touchpoints."""
    begin = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task(what, total=count)
        while (now := stored(client)) < count:
            progress.update(task, completed=now)
            time.sleep(0.25)
    return time.monotonic() - begin


def settle(client: ClickHouse) -> None:
    """Wait until nothing is written any more for three seconds: the steady rate must not stand behind a backlog."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = int(client.query("SELECT sum(total_rows) FROM system.tables WHERE database = 'touchline_store'").rows[0][0])
        before, since = (before, since) if now == before else (now, time.monotonic())
        time.sleep(0.25)


@contextmanager
def line(stack: Stack, log: Path) -> Iterator[dict[str, psutil.Process]]:
    """A worker and a sink at work; yields every process of the line by name."""
    with log.open("wb") as out:
        started = {name: subprocess.Popen([TOUCHLINE, name, "--no-restart"], stdout=out, stderr=out) for name in ("work", "sink")}
        services = {child.cmdline()[0].rpartition("/")[2]: child for child in psutil.Process(stack.supervisor_pid).children()}
        names = {name: ("kafka" if "java" in name else "clickhouse") for name in services}
        try:
            yield {
                **{name: psutil.Process(process.pid) for name, process in started.items()},
                **{names[name]: process for name, process in services.items()},
            }
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.wait(timeout=30)


def throughput(client: ClickHouse, processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Touchpoints that wait in Kafka until they are rows through the views, and CPU seconds of each process meanwhile."""
    before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    seconds = wait_for(client, TOUCHPOINTS, "whole line")
    spent = {f"cpu_seconds_{name}": sum(process.cpu_times()[:2]) - before[name] for name, process in processes.items()}
    return {"touchpoints_per_second": TOUCHPOINTS / seconds, "seconds": seconds, **spent}


def latency(client: ClickHouse) -> dict[str, float]:
    """Seconds from the connector's receipt to the insert, at a steady rate."""
    settle(client)
    publish(paced(RATE * SECONDS, RATE), "steady")
    wait_for(client, TOUCHPOINTS + RATE * SECONDS, "steady rate")
    answer = client.query(
        "SELECT quantilesExact(0.5, 0.99)(date_diff('millisecond', received_at, stored_at) / 1000) FROM "
        f"(SELECT received_at, stored_at FROM touchline.touchpoints ORDER BY received_at DESC LIMIT {RATE * SECONDS})"
    )
    p50, p99 = answer.rows[0][0]
    return {"p50_seconds": p50, "p99_seconds": p99}


def main() -> None:
    """Both measurements on a stack of its own."""
    on = Console()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True)
        client = ClickHouse()
        publish(iter(range(TOUCHPOINTS)), "waiting")
        with line(stack, Path(folder) / "line.log") as processes:
            measured = {**throughput(client, processes), **latency(client)}
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    table = Table(
        "measure", "value", title=f"{TOUCHPOINTS:,} touchpoints of {CUSTOMERS:,} customers; then {RATE}/s for {SECONDS} s"
    )
    for name, value in measured.items():
        table.add_row(name, f"{value:,.2f}")
    on.print(table)


if __name__ == "__main__":
    main()
