"""Throughput of a burst, latency at a steady rate, and the processor time of each process.

A burst ends when the views show every touchpoint, the journeys count all of them, and every reading exists. Queries take time
of ClickHouse, so the stored rows are counted first and the views are queried once all rows are stored.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from schemas.errors import FatalError
from sinks.clickhouse import ClickHouse
from tests.bench.line.life import CUSTOMERS
from tests.harness.stack import TOUCHLINE

BURST, WARM = 600_000, 100_000
RATE, SECONDS = 1_000, 120
POLL_SECONDS = 0.5
MAX_SECONDS = 300.0
QUANTILES = """
    quantilesExact(0.5, 0.99)(date_diff('millisecond', received_at, greatest(touched.stored_at, read.stored_at)) / 1000)
"""
TOUCHED = """
    SELECT event_id, received_at, stored_at FROM touchline_store.touchpoints_by_event FINAL WHERE connector = 'steady'
"""
READ = """
    SELECT assumeNotNull(event_id) AS event_id, max(stored_at) AS stored_at
    FROM (SELECT * FROM touchline_store.satisfaction_by_customer UNION ALL SELECT * FROM touchline_store.churn_by_customer)
    GROUP BY event_id
"""
READINGS = ("satisfaction_by_customer", "churn_by_customer")
COMMANDS = {"work": ["work"], "work_2": ["work", "--name", "worker-2"], "sink": ["sink"]}
Processes = dict[str, psutil.Process]


@contextmanager
def line(stack: Stack, folder: Path) -> Iterator[Processes]:
    """Run two workers, one per core, and a sink; yield every process of the line by name."""
    subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True)
    with (folder / "line.log").open("wb") as out:
        started = {
            name: subprocess.Popen([TOUCHLINE, *command, "--no-restart"], stdout=out, stderr=out)
            for name, command in COMMANDS.items()
        }
        services = {child.cmdline()[0].rpartition("/")[2]: child for child in psutil.Process(stack.supervisor_pid).children()}
        try:
            yield {
                **{name: psutil.Process(process.pid) for name, process in started.items()},
                **{"kafka" if "java" in name else "clickhouse": process for name, process in services.items()},
            }
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.wait(timeout=30)


class Burst:
    """Touchpoints of one run, and their results in ClickHouse."""

    def __init__(self, client: ClickHouse, run: str, count: int, before: int) -> None:
        """`before` is the number of touchpoints of earlier runs."""
        self.client = client
        self.before = before
        self.run = run
        self.count = count

    def count_stored(self) -> int:
        """Return the stored touchpoints with readings of this run, by row counts: cheap, and at most too high."""
        touchpoints = self._one("SELECT sum(total_rows) FROM system.tables WHERE name = 'touchpoints_by_event'")
        readings = self._one(f"SELECT sum(total_rows) FROM system.tables WHERE name IN {READINGS}")
        return min(touchpoints, readings) - self.before

    def is_visible(self) -> bool:
        """Return whether the views show each touchpoint once, counted in a journey and with a reading."""
        mine = f"SELECT event_id, type FROM touchline.touchpoints WHERE connector = '{self.run}'"
        if self._one(f"SELECT count() FROM ({mine})") != self.count:
            return False
        everything = self._one("SELECT count() FROM touchline.touchpoints")
        if self._one("SELECT sum(touchpoints) FROM touchline.journeys") != everything:
            return False
        readings = "SELECT event_id FROM touchline.satisfaction UNION ALL SELECT event_id FROM touchline.churn"
        return self._one(f"SELECT count() FROM ({readings}) WHERE event_id IN (SELECT event_id FROM ({mine}))") == self.count

    def _one(self, sql: str) -> int:
        return int(self.client.query(sql).rows[0][0])

    def wait(self, what: str) -> None:
        """Wait until all touchpoints are visible. Raises FatalError after a time-out."""
        deadline = time.monotonic() + MAX_SECONDS
        with Progress(transient=True) as progress:
            task = progress.add_task(what, total=self.count)
            while (now := self.count_stored()) < self.count or not self.is_visible():
                progress.update(task, completed=now)
                if time.monotonic() > deadline:
                    raise FatalError(f"{what}: {now} of {self.count} touchpoints are stored after {MAX_SECONDS:.0f} s")
                time.sleep(POLL_SECONDS)


class Feed:
    """Publisher in a process of its own, which starts once its records are ready.

    `first` is the number of the first touchpoint, so that event time continues from run to run.
    """

    def __init__(self, run: str, first: int, count: int, rate: int | None = None) -> None:
        command = [sys.executable, "-m", "tests.bench.line.feed", run, str(first), str(count), *([str(rate)] if rate else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._read_mark("first")

    def _read_mark(self, mark: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise FatalError(f"the publisher of the benchmark ended before its mark `{mark}`")
        return line

    def cpu_seconds(self) -> float:
        """Wait for the end of the process and return its processor seconds."""
        found = float(self._read_mark("seconds"))
        self._process.communicate()
        return found


def cpu_times(processes: Processes) -> dict[str, float]:
    """Return the processor seconds of each process so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def measure_throughput(client: ClickHouse, processes: Processes) -> dict[str, float]:
    """Return touchpoints per second of a burst, and processor seconds of each process per 100,000."""
    burst = Burst(client, "burst", BURST, WARM)
    feed, begin, before = Feed("burst", WARM, BURST), time.monotonic(), cpu_times(processes)
    burst.wait("whole line")
    seconds, after = time.monotonic() - begin, cpu_times(processes)
    cost = {name: after[name] - before[name] for name in processes} | {"publish": feed.cpu_seconds()}
    return {
        "touchpoints_per_second": BURST / seconds,
        **{f"cpu_seconds_per_100k_{name}": each / BURST * 100_000 for name, each in cost.items()},
    }


def measure_latency(client: ClickHouse) -> dict[str, float]:
    """Return the seconds from publishing until both the touchpoint and its reading are stored."""
    steady = Burst(client, "steady", RATE * SECONDS, WARM + BURST)
    feed = Feed("steady", WARM + BURST, RATE * SECONDS, RATE)
    time.sleep(SECONDS)
    feed.cpu_seconds()
    steady.wait("steady rate")
    answer = client.query(f"SELECT {QUANTILES} FROM ({TOUCHED}) AS touched JOIN ({READ}) AS read USING event_id")
    p50, p99 = answer.rows[0][0]
    return {"p50_seconds": p50, "p99_seconds": p99}


def measure(stack: Stack, console: Console) -> dict[str, float]:
    """Measure both on a running stack, after a warm-up; print a table."""
    client = ClickHouse()
    with tempfile.TemporaryDirectory() as folder, line(stack, Path(folder)) as processes:
        warming = Burst(client, "warm", WARM, 0)
        warm = Feed("warm", 0, WARM)
        warming.wait("warming up")
        warm.cpu_seconds()
        found = {**measure_throughput(client, processes), **measure_latency(client)}
    table = Table("measure", "value", title=f"{BURST:,} touchpoints of {CUSTOMERS:,} customers; then {RATE:,}/s for {SECONDS} s")
    for name, value in found.items():
        table.add_row(name, f"{value:,.2f}")
    console.print(table)
    return found
