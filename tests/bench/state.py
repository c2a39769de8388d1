"""State at three sizes: what a touchpoint costs, what a customer weighs, and how fast a lost worker's state comes back.

Only the real join step runs, in one worker, on `resolved` records of customers who are spread evenly. The sizes build on
one another: first every new customer gets one touchpoint, then a worker started afresh on that state catches up with a number
of touchpoints of customers drawn from all, and then it folds as many while they happen, at a steady rate.

Cost is the worker's processor time, when it is steady without what the worker takes when nothing happens. The steady one tells
what the size of the state costs. Catching up folds thousands of touchpoints at once: of few customers several share one row,
which makes a small state cheaper still and says nothing of a large one; it is told beside.
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
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode
from schemas.wire.topics import CUSTOMER_STATE, PARTITIONS, RESOLVED
from streams.contract import Output
from streams.engine.store import rocksdb_options
from streams.engine.worker import GROUP
from streams.steps.identity import new_customer_id
from streams.steps.resolved import forward_to_customer
from tests.bench.plain.check import read
from tests.bench.process import Figures, Watched
from tests.bench.publish import publish
from tests.harness.stack import running_stack

SEED = 3
SIZES = (10_000, 100_000, 1_000_000)
EVENTS = 100_000
RATE = 3_000
IDLE_SECONDS = 10.0
BEGIN = 1_760_000_000_000
KINDS = (("erp", "order.placed"), ("erp", "payment.received"), ("support", "ticket.opened"), ("support", "ticket.resolved"))


class Size(NamedTuple):
    """One size: customers, what filling, catching up and the steady rate cost, resident bytes of the worker at the end of it."""

    customers: int
    fill: Figures
    burst: Figures
    steady: Figures
    rss_bytes: int


def measure(stack: Stack, console: Console, sizes: Sequence[int] = SIZES, events: int = EVENTS) -> dict[str, float]:
    """Cost, weight and recovery at each of `sizes`, smallest first. `stack` must be fresh: no topics yet."""
    ensure_topics(KafkaSettings(), dry_run=False)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        bench = Bench(stack, Path(folder), events, progress)
        found = [bench.size(before, customers) for before, customers in zip((0, *sizes), sizes, strict=False)]
        rate = bench.recovery()
        disk = sum(each.stat().st_size for each in (bench.folder / "worker").rglob("*") if each.is_file())
        rows = asyncio.run(newest())
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
    """One stack, one state that grows."""

    def __init__(self, stack: Stack, folder: Path, events: int, progress: Progress) -> None:
        self.folder = folder
        self._events = events
        self._progress = progress
        self._broker = psutil.Process(stack.service("kafka").pid)
        self._chance = random.Random(SEED)
        self._published = 0

    def size(self, before: int, customers: int) -> Size:
        """Grow from `before` to `customers`, then fold touchpoints of all of them."""
        fill, filled = self._work(range(before, customers), customers - before, f"{customers:,} customers: fill")
        burst, caught_up = self._work(self._drawn(customers), self._events, f"{customers:,} customers: catching up")
        steady, resident = self._steady(self._drawn(customers), f"{customers:,} customers: steady")
        return Size(customers, fill, burst, steady, max(filled, caught_up, resident))

    def _drawn(self, customers: int) -> Iterator[int]:
        return (self._chance.randrange(customers) for _ in range(self._events))

    def _steady(self, customers: Iterable[int], what: str) -> tuple[Figures, int]:
        """Publish a touchpoint for each of `customers` while a worker folds them; figures without idling, its resident bytes."""
        with self._worker("worker") as worker:
            worker.wait_for("recovered")
            begin, before = time.monotonic(), worker.spent()
            time.sleep(IDLE_SECONDS)
            idle = [(now - then) / (time.monotonic() - begin) for then, now in zip(before, worker.spent(), strict=True)]
            begin, before = time.monotonic(), worker.spent()
            publish(self._resolved(customers), self._events, self._progress, what, RATE)
            self._published += self._events
            worker.wait_for_commit(GROUP, RESOLVED, self._published)
            seconds = time.monotonic() - begin
            spent = [now - then - each * seconds for then, now, each in zip(before, worker.spent(), idle, strict=True)]
            return Figures(self._events, seconds, *spent), worker.process.memory_info().rss

    def _work(self, customers: Iterable[int], count: int, what: str) -> tuple[Figures, int]:
        """Publish one touchpoint for each of `customers`, then let a worker fold them; figures and its resident bytes."""
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
            yield forward_to_customer(fields, encode(source, fields), new_customer_id("email", identifier["value"]))

    def recovery(self) -> float:
        """Changelog records a second that a worker with an empty folder reads and writes, from assignment to readiness."""
        task = self._progress.add_task("recovery", total=None)
        with self._worker("empty") as worker:
            begin = worker.wait_for("assigned")
            seconds = worker.wait_for("recovered") - begin
        self._progress.remove_task(task)
        return changelog_records() / seconds

    def _worker(self, name: str) -> Watched:
        command = (sys.executable, "-m", "tests.bench.joining", str(self.folder / name))
        return Watched(command, self.folder / f"{name}.log", self._broker)


def changelog_records() -> int:
    """How many records the changelog has had; compaction has not come by in so short a time."""
    partitions = [TopicPartition(CUSTOMER_STATE, number) for number in range(PARTITIONS)]
    consumer = KafkaConsumer(**KafkaSettings().kafka_python())
    try:
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


async def newest() -> dict[bytes, bytes]:
    """The last changelog record of every key."""
    return {record.key: record.value async for record in read(CUSTOMER_STATE)}


def compare(rows: dict[bytes, bytes], folder: Path) -> None:
    """Raise FatalError unless the databases that a worker recovered in `folder` hold exactly `rows`."""
    found = 0
    for path in folder.rglob("CURRENT"):
        database: Any = rocksdict.Rdict(str(path.parent), rocksdb_options(), access_type=rocksdict.AccessType.read_only())
        found += sum(rows.get(key) == value for key, value in database.items())
    if found != len(rows):
        raise FatalError(f"recovery brought back {found} of {len(rows)} rows as the changelog has them")


def label(customers: int) -> str:
    """10,000 is `10k`, 1,000,000 is `1m`."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if customers >= unit:
            return f"{customers // unit}{letter}"
    return str(customers)


def table(found: Sequence[Size], recovery: float, weight: float, disk: float) -> Table:
    """What a reader of the terminal sees."""
    shown = Table(
        title=f"State: join alone, {found[0].burst.records:,} touchpoints at each size, once at {RATE:,}/s and once at once",
        caption=f"CPU: seconds per 100,000 touchpoints. A customer: {weight:,.0f} bytes of rows, {disk:,.0f} on disk. "
        f"Recovery: {recovery:,.0f} rows a second.",
    )
    for heading in ("customers", "steady, CPU s", "catching up, CPU s", "per second", "filling, CPU s", "worker MiB"):
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
@click.option("--events", default=EVENTS, show_default=True, help="Touchpoints folded at each size.")
def main(customers: tuple[int, ...], events: int) -> None:
    """Measure the state of the join step: cost, weight, recovery.

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
