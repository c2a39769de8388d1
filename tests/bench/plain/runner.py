"""Runner: publish the workload, run one variant after the other, check each answer, and compare."""

import asyncio
import tempfile
from pathlib import Path

import psutil
from kafka import KafkaAdminClient
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import PARTITIONS
from tests.bench.plain.check import check
from tests.bench.plain.variants import QUIX_COMMIT_RECORDS, Variant, floor, ours, quix, stock_faust
from tests.bench.plain.venv import quix_python
from tests.bench.plain.workload import SMALL_TOPIC, TOPIC, Workload, model, records
from tests.bench.process import Figures, MeasuredProcess
from tests.bench.publish import publish

WORKLOAD = Workload()
FLOOR, LOWER, OURS, STOCK, QUIX = "floor", "lower_floor", "ours", "stock", "quix"


def measure(stack: Stack, console: Console, workload: Workload = WORKLOAD) -> dict[str, float]:
    """Measure the plain fold on every engine. `stack` must be new, without topics. Raises FatalError for a wrong answer."""
    python = quix_python()
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        bench = Bench(stack, Path(folder), workload, progress)
        bench.prepare()
        found = {FLOOR: bench.floor("fastavro"), LOWER: bench.floor("ours"), OURS: bench.run(ours(bench.folder))}
        found[STOCK] = bench.run(stock_faust(bench.folder))
        tried = {every: bench.run(quix(bench.folder, python, every)) for every in QUIX_COMMIT_RECORDS}
    best = max(tried, key=lambda every: tried[every].per_second)
    found[QUIX] = tried[best]
    console.print(table(found, workload, best))
    return results(found)


class Bench:
    """Measurements of one workload on one stack."""

    def __init__(self, stack: Stack, folder: Path, workload: Workload, progress: Progress) -> None:
        self.folder = folder
        self._workload = workload
        self._progress = progress
        self.broker = psutil.Process(stack.service("kafka").pid)

    def prepare(self) -> None:
        """Create the topics and publish the touchpoints."""
        ensure_topics(KafkaSettings(), dry_run=False)
        create(SMALL_TOPIC)
        workload = self._workload
        for topic, count in ((TOPIC, workload.touchpoints), (SMALL_TOPIC, workload.small)):
            publish(records(workload, topic), count, self._progress, f"publish {topic}")

    def floor(self, reader: str) -> Figures:
        count = self._workload.touchpoints
        task = self._progress.add_task("floor", total=None)
        with MeasuredProcess(floor(count, reader), self.folder / "floor.log", self.broker) as watched:
            figures = watched.until_mark("done", count)
        self._progress.remove_task(task)
        return figures

    def run(self, variant: Variant) -> Figures:
        """Measure one variant, then check its results."""
        create(variant.outputs)
        task = self._progress.add_task(variant.name, total=None)
        with MeasuredProcess(variant.command, self.folder / f"{variant.group}.log", self.broker) as watched:
            figures = watched.until_committed(variant.group, variant.topic, self._count(variant))
        self._progress.update(task, description=f"{variant.name}: check")
        self.check(variant)
        self._progress.remove_task(task)
        return figures

    def check(self, variant: Variant) -> None:
        """Raise FatalError unless outputs and changelog equal the result of plain Python."""
        expected = model(self._workload, self._count(variant))
        asyncio.run(check(variant.name, expected, variant.outputs, variant.changelog, variant.row_of))

    def _count(self, variant: Variant) -> int:
        return self._workload.small if variant.topic == SMALL_TOPIC else self._workload.touchpoints


def create(topic: str) -> None:
    """Create a topic with the usual number of partitions, unless it exists."""
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    try:
        if topic not in admin.list_topics():
            admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True)
    finally:
        admin.close()


def results(found: dict[str, Figures]) -> dict[str, float]:
    """Return rates per second, processor seconds per 100,000 touchpoints, and the ratios between our engine and each other."""
    mine, cpu = found[OURS].per_second, found[OURS].cpu_seconds_per_100k
    return {
        "plain_per_second": mine,
        "vs_stock_faust": mine / found[STOCK].per_second,
        "vs_quix": mine / found[QUIX].per_second,
        "vs_floor": mine / found[FLOOR].per_second,
        "vs_lower_floor": mine / found[LOWER].per_second,
        "cpu_vs_stock_faust": found[STOCK].cpu_seconds_per_100k / cpu,
        "cpu_vs_quix": found[QUIX].cpu_seconds_per_100k / cpu,
        "cpu_vs_floor": found[FLOOR].cpu_seconds_per_100k / cpu,
        "cpu_vs_lower_floor": found[LOWER].cpu_seconds_per_100k / cpu,
        **{f"plain_{name}_per_second": figures.per_second for name, figures in found.items() if name != OURS},
        **{f"plain_{name}_cpu_seconds_per_100k": figures.cpu_seconds_per_100k for name, figures in found.items()},
    }


def table(found: dict[str, Figures], workload: Workload, commit_every: int) -> Table:
    """Return the printed table."""
    names = {FLOOR: "floor, fastavro", LOWER: "floor, our reader", OURS: "ours", STOCK: "stock Faust", QUIX: "Quix Streams"}
    shown = Table(
        title=f"Plain fold: touchpoints of {workload.customers:,} customers",
        caption="CPU s and Kafka: processor seconds for 100,000 touchpoints. "
        f"Quix Streams was best with commit_every={commit_every}.",
    )
    shown.add_column("engine")
    for heading in ("touchpoints", "per s", "ours is", "CPU s", "ours is", "Kafka"):
        shown.add_column(heading, justify="right")
    for name, figures in found.items():
        shown.add_row(
            names[name],
            f"{figures.records:,}",
            f"{figures.per_second:,.0f}",
            "" if name == OURS else f"{found[OURS].per_second / figures.per_second:.2f}x",
            f"{figures.cpu_seconds_per_100k:.2f}",
            "" if name == OURS else f"{figures.cpu_seconds_per_100k / found[OURS].cpu_seconds_per_100k:.2f}x",
            f"{figures.broker_cpu_seconds / figures.records * 100_000:.2f}",
        )
    return shown
