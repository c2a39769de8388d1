"""State at three sizes: cost of a touchpoint, bytes of a customer, and speed of the recovery of a lost worker's state.

One worker runs the real join step alone, on `resolved` records of evenly drawn customers. The sizes build on each other. Each
new customer gets one touchpoint. Then a new worker on that state processes a burst of touchpoints of all customers, and another
one processes as many at a steady rate.

Cost is the worker's processor time, at the steady rate without its idle time. The steady rate shows the effect of the size of
the state. The burst processes thousands of touchpoints at once: with few customers, several touchpoints share one row, so
a small state is cheaper. The burst is reported separately.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil
import rocksdict
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.errors import FatalError, TouchlineError
from schemas.records.identifiers import identifier_id
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode
from schemas.wire.topics import CUSTOMER_STATE, PARTITIONS, RESOLVED
from streams.contract import Output
from streams.engine.store import rocksdb_options
from streams.engine.worker import GROUP
from streams.steps.resolved import forward_to_customer
from tests.bench.plain.check import read
from tests.bench.process import Figures, MeasuredProcess
from tests.bench.publish import publish
from tests.harness.stack import running_stack

SEED = 3
SECRET = b"secret of the benchmark"
SIZES = (10_000, 100_000, 1_000_000)
EVENTS = 100_000
RATE = 3_000
IDLE_SECONDS = 10.0
BEGIN = 1_760_000_000_000
KINDS = (("erp", "order.placed"), ("erp", "payment.received"), ("support", "ticket.opened"), ("support", "ticket.resolved"))


class Size(NamedTuple):
    """Results of one size: cost of the fill, the burst and the steady rate, and resident bytes of the worker at the end."""

    customers: int
    fill: Figures
    burst: Figures
    steady: Figures
    rss_bytes: int


def measure(stack: Stack, console: Console, sizes: Sequence[int] = SIZES, events: int = EVENTS) -> dict[str, float]:
    """Return cost, bytes and recovery for each of `sizes`, smallest first. `stack` must be new, without topics."""
    ensure_topics(KafkaSettings(), dry_run=False)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        bench = Bench(stack, Path(folder), events, progress)
        found = [bench.size(before, customers) for before, customers in zip((0, *sizes), sizes, strict=False)]
        rate = bench.recovery()
        disk = sum(each.stat().st_size for each in (bench.folder / "worker").rglob("*") if each.is_file())
        rows = asyncio.run(read_newest())
        compare(rows, bench.folder / "empty")
    weight = sum(len(key) + len(row) for key, row in rows.items())
    console.print(table(found, rate, weight / sizes[-1], disk / sizes[-1]))
    small, large = found[0], found[-1]
    sizes_label = f"{label(large.customers)}_vs_{label(small.customers)}"
    return {
        "recovery_rows_per_second": rate,
        "state_bytes_per_customer": weight / sizes[-1],
        "state_disk_bytes_per_customer": disk / sizes[-1],
        **{f"worker_rss_bytes_{label(each.customers)}": each.rss_bytes for each in found},
        **{f"state_cpu_seconds_per_100k_{label(each.customers)}": each.steady.cpu_seconds_per_100k for each in found},
        **{f"state_burst_cpu_seconds_per_100k_{label(each.customers)}": each.burst.cpu_seconds_per_100k for each in found},
        f"cost_ratio_{sizes_label}": large.steady.cpu_seconds_per_100k / small.steady.cpu_seconds_per_100k,
        f"burst_cost_ratio_{sizes_label}": large.burst.cpu_seconds_per_100k / small.burst.cpu_seconds_per_100k,
    }


class Bench:
    """Measurements on one stack with a growing state."""

    def __init__(self, stack: Stack, folder: Path, events: int, progress: Progress) -> None:
        self.folder = folder
        self._events = events
        self._progress = progress
        self._broker = psutil.Process(stack.service("kafka").pid)
        self._chance = random.Random(SEED)
        self._published = 0

    def size(self, before: int, customers: int) -> Size:
        """Grow the state from `before` to `customers`, then process touchpoints of all customers."""
        fill, after_fill = self._work(range(before, customers), customers - before, f"{customers:,} customers: fill")
        burst, after_burst = self._work(self._drawn(customers), self._events, f"{customers:,} customers: burst")
        steady, resident = self._steady(self._drawn(customers), f"{customers:,} customers: steady")
        return Size(customers, fill, burst, steady, max(after_fill, after_burst, resident))

    def _drawn(self, customers: int) -> Iterator[int]:
        return (self._chance.randrange(customers) for _ in range(self._events))

    def _steady(self, customers: Iterable[int], what: str) -> tuple[Figures, int]:
        """Publish one touchpoint per customer while a worker runs; return figures without idle time, and resident bytes."""
        with self._worker("worker") as worker:
            worker.wait_for("recovered")
            begin, before = time.monotonic(), worker.cpu_times()
            time.sleep(IDLE_SECONDS)
            idle = [(now - then) / (time.monotonic() - begin) for then, now in zip(before, worker.cpu_times(), strict=True)]
            begin, before = time.monotonic(), worker.cpu_times()
            publish(self._resolved(customers), self._events, self._progress, what, RATE)
            self._published += self._events
            worker.wait_for_commit(GROUP, RESOLVED, self._published)
            seconds = time.monotonic() - begin
            spent = [now - then - each * seconds for then, now, each in zip(before, worker.cpu_times(), idle, strict=True)]
            return Figures(self._events, seconds, *spent), worker.process.memory_info().rss

    def _work(self, customers: Iterable[int], count: int, what: str) -> tuple[Figures, int]:
        """Publish one touchpoint per customer, then run a worker; return figures and resident bytes."""
        publish(self._resolved(customers), count, self._progress, f"{what}, publish")
        task = self._progress.add_task(what, total=None)
        with self._worker("worker") as worker:
            figures = worker.until_committed(GROUP, RESOLVED, count, before=self._published)
            resident = worker.process.memory_info().rss
        self._progress.remove_task(task)
        self._published += count
        return figures, resident

    def _resolved(self, customers: Iterable[int]) -> Iterator[Output]:
        for number, customer in enumerate(customers, self._published):
            source, kind = self._chance.choice(KINDS)
            identifier = {"kind": "email", "value": f"c{customer}@example.org"}
            fields = {
                "event_id": self._chance.randbytes(16),
                "source": source,
                "system": "bench",
                "connector": "bench",
                "type": kind,
                "channel": "web",
                "occurred_at": BEGIN + number * 1_000,
                "received_at": BEGIN + number * 1_000,
                "identifiers": [identifier],
                "attributes": {},
            }
            customer_id = identifier_id(SECRET, "email", identifier["value"])
            yield forward_to_customer(fields, encode(source, fields), customer_id, (customer_id,))

    def recovery(self) -> float:
        """Return the changelog records per second that a worker with an empty folder recovers."""
        task = self._progress.add_task("recovery", total=None)
        with self._worker("empty") as worker:
            begin = worker.wait_for("assigned")
            seconds = worker.wait_for("recovered") - begin
        self._progress.remove_task(task)
        return count_changelog_records() / seconds

    def _worker(self, name: str) -> MeasuredProcess:
        command = (sys.executable, "-m", "tests.bench.joining", str(self.folder / name))
        return MeasuredProcess(command, self.folder / f"{name}.log", self._broker)


def count_changelog_records() -> int:
    """Return the number of changelog records. Compaction does not run within the time of the measurement."""
    partitions = [TopicPartition(CUSTOMER_STATE, number) for number in range(PARTITIONS)]
    consumer = KafkaConsumer(**KafkaSettings().kafka_python())
    try:
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


async def read_newest() -> dict[bytes, bytes]:
    """Return the last changelog record of every key."""
    return {record.key: record.value async for record in read(CUSTOMER_STATE)}


def compare(rows: dict[bytes, bytes], folder: Path) -> None:
    """Raise FatalError unless the databases that a worker recovered in `folder` hold exactly `rows`."""
    found = 0
    for path in folder.rglob("CURRENT"):
        database: Any = rocksdict.Rdict(str(path.parent), rocksdb_options(), access_type=rocksdict.AccessType.read_only())
        found += sum(rows.get(key) == value for key, value in database.items())
    if found != len(rows):
        raise FatalError(f"recovery restored {found} of {len(rows)} rows of the changelog correctly")


def label(customers: int) -> str:
    """Return a short label: `10k` for 10,000, `1m` for 1,000,000."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if customers >= unit:
            return f"{customers // unit}{letter}"
    return str(customers)


def table(found: Sequence[Size], recovery: float, weight: float, disk: float) -> Table:
    """Return the printed table."""
    shown = Table(
        title=f"State: join alone, {found[0].burst.records:,} touchpoints at each size, at {RATE:,}/s and as a burst",
        caption=f"CPU: seconds per 100,000 touchpoints. Per customer: {weight:,.0f} bytes of rows, {disk:,.0f} on disk. "
        f"Recovery: {recovery:,.0f} rows per second.",
    )
    for heading in ("customers", "steady, CPU s", "burst, CPU s", "per second", "filling, CPU s", "worker MiB"):
        shown.add_column(heading, justify="right")
    for each in found:
        shown.add_row(
            f"{each.customers:,}",
            f"{each.steady.cpu_seconds_per_100k:.2f}",
            f"{each.burst.cpu_seconds_per_100k:.2f}",
            f"{each.burst.per_second:,.0f}",
            f"{each.fill.cpu_seconds_per_100k:.2f}",
            f"{each.rss_bytes / 2**20:,.0f}",
        )
    return shown


@click.command()
@click.option("--customers", multiple=True, type=int, default=SIZES, show_default=True, help="Sizes, smallest first.")
@click.option("--events", default=EVENTS, show_default=True, help="Touchpoints processed at each size.")
def main(customers: tuple[int, ...], events: int) -> None:
    """Measure the state of the join step: cost, size, recovery.

    Example: python -m tests.bench.state --customers 1000 --customers 5000 --events 2000
    """
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
            found = measure(stack, console, customers, events)
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    console.print_json(json.dumps(found))


if __name__ == "__main__":
    main()
