"""Throughput of a burst and latency at a steady rate, and whose processor time it takes.

A burst is over when the views show every touchpoint, every journey has counted them, and every reading is there. Looking
costs ClickHouse time, too; so the stored tables are counted first, and the views asked when those are full.
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
LOOK_SECONDS = 0.5
LIMIT_SECONDS = 300.0
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
    """Two workers, one for each core, and a sink; yields every process of the line by name."""
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
    """Touchpoints sent as fast as Kafka takes them, and what came of them."""

    def __init__(self, client: ClickHouse, run: str, count: int, before: int) -> None:
        """`before` touchpoints of other runs were sent ahead of this one's."""
        self.client = client
        self.before = before
        self.run = run
        self.count = count

    def stored(self) -> int:
        """Touchpoints of this run that are stored and read, as the tables count their rows: cheap, and too many if anything."""
        touchpoints = self._one("SELECT sum(total_rows) FROM system.tables WHERE name = 'touchpoints_by_event'")
        readings = self._one(f"SELECT sum(total_rows) FROM system.tables WHERE name IN {READINGS}")
        return min(touchpoints, readings) - self.before

    def shown(self) -> bool:
        """Whether the views show all: each touchpoint once, counted in a journey, and read."""
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
        """Until all is shown. Raises FatalError where that takes too long."""
        deadline = time.monotonic() + LIMIT_SECONDS
        with Progress(transient=True) as progress:
            task = progress.add_task(what, total=self.count)
            while (now := self.stored()) < self.count or not self.shown():
                progress.update(task, completed=now)
                if time.monotonic() > deadline:
                    raise FatalError(f"{what}: {now} of {self.count} touchpoints are stored after {LIMIT_SECONDS:.0f} s")
                time.sleep(LOOK_SECONDS)


class Feed:
    """The publisher as a process of its own; it begins when its records are ready. `first` is the number of the first one: event
    time goes on from run to run."""

    def __init__(self, run: str, first: int, count: int, rate: int | None = None) -> None:
        command = [sys.executable, "-m", "tests.bench.line.feed", run, str(first), str(count), *([str(rate)] if rate else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._said("first")

    def _said(self, what: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise FatalError(f"the publisher of the benchmark ended before it said `{what}`")
        return line

    def cpu_seconds(self) -> float:
        """Wait for its end; the processor time it took."""
        found = float(self._said("seconds"))
        self._process.communicate()
        return found


def spent(processes: Processes) -> dict[str, float]:
    """Processor seconds of each process so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def throughput(client: ClickHouse, processes: Processes) -> dict[str, float]:
    """Touchpoints a second of a burst, and processor seconds of each process for 100,000."""
    burst = Burst(client, "burst", BURST, WARM)
    feed, begin, before = Feed("burst", WARM, BURST), time.monotonic(), spent(processes)
    burst.wait("whole line")
    seconds, after = time.monotonic() - begin, spent(processes)
    cost = {name: after[name] - before[name] for name in processes} | {"publish": feed.cpu_seconds()}
    return {
        "touchpoints_per_second": BURST / seconds,
        **{f"cpu_seconds_per_100k_{name}": each / BURST * 100_000 for name, each in cost.items()},
    }


def latency(client: ClickHouse) -> dict[str, float]:
    """Seconds from publishing to what a query sees, of the touchpoint and of its reading, whichever comes later."""
    steady = Burst(client, "steady", RATE * SECONDS, WARM + BURST)
    feed = Feed("steady", WARM + BURST, RATE * SECONDS, RATE)
    time.sleep(SECONDS)
    feed.cpu_seconds()
    steady.wait("steady rate")
    answer = client.query(f"SELECT {QUANTILES} FROM ({TOUCHED}) AS touched JOIN ({READ}) AS read USING event_id")
    p50, p99 = answer.rows[0][0]
    return {"p50_seconds": p50, "p99_seconds": p99}


def measure(stack: Stack, console: Console) -> dict[str, float]:
    """Both, on a running stack, with a worker and a sink that have warmed up; prints a table."""
    client = ClickHouse()
    with tempfile.TemporaryDirectory() as folder, line(stack, Path(folder)) as processes:
        warming = Burst(client, "warm", WARM, 0)
        warm = Feed("warm", 0, WARM)
        warming.wait("warming up")
        warm.cpu_seconds()
        found = {**throughput(client, processes), **latency(client)}
    table = Table("measure", "value", title=f"{BURST:,} touchpoints of {CUSTOMERS:,} customers; then {RATE:,}/s for {SECONDS} s")
    for name, value in found.items():
        table.add_row(name, f"{value:,.2f}")
    console.print(table)
    return found
