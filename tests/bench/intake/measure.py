"""Measures the intake: batches at full speed, single events at a steady rate, batches while Kafka is frozen.

wrk sends batches over 16 connections, each of which waits for its answer. locust sends single events by independent users: a
slow answer delays no other event, and it stays in the figures.
"""

import http.client
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings
from tests.bench.intake.mapping import ratio
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.intake.instance import WRITE, Intake, create_instance

SECONDS = 60
BATCH, CONNECTIONS, CROWD = 100, 16, 1_000
RATE, USERS, LIMIT_SECONDS = 500, 515, 60.0
HERE = Path(__file__).parent
BATCHES = HERE.parents[1] / "live" / "intake" / "batch.lua"
MEGABYTE = 1024 * 1024


class Load(NamedTuple):
    """A running intake with the commands that send to it."""

    intake: Intake
    process: psutil.Process
    kafka: psutil.Process

    def spent(self) -> tuple[float, float]:
        """Return the processor seconds so far of the intake and of Kafka."""
        return tuple(sum(each.cpu_times()[:2]) for each in (self.process, self.kafka))  # type: ignore[return-value]

    def memory(self) -> float:
        """Return the resident memory of the intake in megabytes."""
        return float(self.process.memory_info().rss) / MEGABYTE

    def batches(self, connections: int, seconds: int) -> tuple[int, int]:
        """Return the number of answered batches and of those without 2xx. Raises FatalError if some got no answer."""
        wrk = installed.debian("wrk", "wrk")
        (library,) = {path.parent for path in wrk.rglob("libluajit*.so*")}
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{LIMIT_SECONDS:.0f}s", "-s", str(BATCHES)]
        output = ran([str(wrk / "usr/bin/wrk"), *options, self.intake.address], seconds, LD_LIBRARY_PATH=str(library))
        if "Socket errors" in output:
            raise FatalError(f"wrk says: {output[output.index('Socket errors') :].splitlines()[0]}")
        return found(r"(\d+) requests in", output), found(r"Non-2xx or 3xx responses: (\d+)", output)

    def singles(self, seconds: int) -> dict[float, int]:
        """Return the number of single events by latency in milliseconds. Raises FatalError if some got no 2xx."""
        folder = installed.python("locust-2.47.0", HERE / "requirements.txt")
        options = ["--headless", "--json", "--loglevel", "ERROR", "--users", str(USERS), "--spawn-rate", str(USERS)]
        command = [str(folder / "bin/python"), str(folder / "bin/locust"), "-f", str(HERE / "locustfile.py"), *options]
        (reported,) = json.loads(ran([*command, "--run-time", f"{seconds}s", "--host", self.intake.address], seconds))
        if reported["num_failures"]:
            raise FatalError(f"{reported['num_failures']} of {reported['num_requests']} single events were refused")
        return {float(latency): count for latency, count in reported["response_times"].items()}


def ran(command: list[str], seconds: int, **environment: str) -> str:
    """Return the output of a command that sends for `seconds`. Raises FatalError if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 120, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        raise FatalError(f"{Path(command[0]).name} failed: {done.stderr[-500:]}")
    return done.stdout


def found(pattern: str, text: str) -> int:
    """Return the number in the text, or 0 without a match."""
    match = re.search(pattern, text)
    return int(match.group(1)) if match else 0


def quantile(latencies: dict[float, int], share: float) -> float:
    """Return the latency that this share of the events does not exceed."""
    left = share * sum(latencies.values())
    for latency, count in sorted(latencies.items()):
        left -= count
        if left <= 0:
            return latency
    raise FatalError("no single event was answered")


def throughput(load: Load, seconds: int) -> dict[str, float]:
    """Measure events per second in batches, and events per second of processor time."""
    before = load.spent()
    batches, refused = load.batches(CONNECTIONS, seconds)
    intake, kafka = (after - each for after, each in zip(load.spent(), before, strict=True))
    events = (batches - refused) * BATCH
    return {
        "batch_events_per_second": events / seconds,
        "batch_events_per_intake_cpu_second": events / intake,
        "batch_kafka_cpu_seconds_per_100k": kafka / events * 100_000,
        "batches_refused": refused,
    }


def latency(load: Load, seconds: int) -> dict[str, float]:
    """Measure milliseconds from sending a single event to its answer, and the processor time of a request."""
    before = load.spent()[0]
    answered = load.singles(seconds)
    count = sum(answered.values())
    return {
        "single_events_per_second": count / seconds,
        "single_p50_ms": quantile(answered, 0.5),
        "single_p99_ms": quantile(answered, 0.99),
        "single_cpu_ms_per_event": (load.spent()[0] - before) / count * 1_000,
    }


def standstill(load: Load, seconds: int) -> dict[str, float]:
    """Send batches on a thousand connections while Kafka is frozen; measure refusals and memory."""
    peak = load.memory()
    load.kafka.suspend()
    try:
        with sampled(load.memory) as samples:
            batches, refused = load.batches(CROWD, seconds)
            status, again = refusal(load.intake)
    finally:
        load.kafka.resume()
    if status != http.client.SERVICE_UNAVAILABLE or again is None:
        raise FatalError(f"without Kafka the intake answered {status}, not 503 with Retry-After")
    eventually(lambda: refusal(load.intake)[0] == http.client.OK, LIMIT_SECONDS)
    return {
        "standstill_refused": refused,
        "standstill_kept": batches - refused,
        "standstill_retry_after_seconds": int(again),
        "standstill_memory_mb_peak": max(peak, *samples),
    }


def refusal(intake: Intake) -> tuple[int, str | None]:
    """Send one event; return the status and Retry-After of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", intake.port, timeout=LIMIT_SECONDS)
    try:
        connection.request("POST", "/v1/page", b'{"userId": "u1", "name": "Pricing"}', WRITE)
        answer = connection.getresponse()
        return answer.status, answer.headers["Retry-After"]
    finally:
        connection.close()


@contextmanager
def sampled(measured: Callable[[], float]) -> Iterator[list[float]]:
    """Collect its values, five per second, until the block ends."""
    samples, over = [measured()], threading.Event()

    def sample() -> None:
        while not over.wait(0.2):
            samples.append(measured())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def measure(stack: Stack, console: Console, seconds: int = SECONDS) -> dict[str, float]:
    """Measure everything on a running stack and print a table."""
    ensure_topics(KafkaSettings(), dry_run=False)
    with tempfile.TemporaryDirectory() as folder:
        intake = create_instance(Path(folder))
        with intake.running() as process:
            load = Load(intake, psutil.Process(process.pid), psutil.Process(stack.service("kafka").pid))
            load.batches(CONNECTIONS, 5)
            start = load.memory()
            results = {**throughput(load, seconds), **latency(load, seconds), **standstill(load, seconds // 2)}
            results |= {"memory_mb_start": start, "memory_mb_end": load.memory(), "mapping_interpreter_vs_closures": ratio()}
    title = f"{seconds} s of batches of {BATCH} events, {seconds} s of {RATE} single events/s, {seconds // 2} s without Kafka"
    table = Table("measure", "value", title=title)
    for name, value in results.items():
        table.add_row(name, f"{value:,.2f}")
    console.print(table)
    return results
