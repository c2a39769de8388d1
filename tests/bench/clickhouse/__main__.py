"""`make bench-clickhouse`: what analysts wait for at ten million touchpoints, and how fast the sink is; tables, and JSON."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from schemas.errors import FatalError, TouchlineError
from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse import parts, questions, rates
from tests.bench.clickhouse.fill import fill
from tests.conftest import TOUCHLINE, running_stack
from tests.sinking import refresh

RESULTS = Path(__file__).parents[1] / "clickhouse.json"
CALM_SECONDS = 600
STORED = """
    SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'touchline_store'
"""
Found = dict[str, float | int | None]


def answers(stack: Stack, console: Console, touchpoints: int, customers: int, minutes: float) -> Found:
    """Fill the tables, which exist, ask the questions, then write on and count parts."""
    client, server = ClickHouse(), psutil.Process(stack.service("clickhouse").pid)
    try:
        with Progress(console=console) as progress:
            fill(client, progress, touchpoints, customers)
            task = progress.add_task("merges of parts come to rest", total=None)
            calm(client)
            refresh()
            progress.remove_task(task)
            found: Found = {}
            shown = Table(title=f"{touchpoints:,} touchpoints of {customers:,} customers, 3 % stored twice, 1 % merged")
            for heading in ("question", "p50 s", "p95 s", "limit s", "first, caches empty", "CPU s", "rows read"):
                shown.add_column(heading, justify="left" if heading == "question" else "right")
            for question in questions.questions(touchpoints, customers, client):
                task = progress.add_task(f"{question.name}, asked and checked", total=None)
                told = questions.ask(client, question, server, lambda task=task: progress.advance(task))  # type: ignore[misc]
                progress.remove_task(task)
                found[f"{question.name}_p95_seconds"] = told.p95
                shown.add_row(
                    question.name,
                    f"{told.p50:.3f}",
                    f"{told.p95:.3f}",
                    f"{question.limit_seconds:.1f}",
                    f"{told.cold:.3f}",
                    f"{told.cpu_seconds:.3f}",
                    f"{told.read_rows:,}",
                )
            task = progress.add_task("5,000 rows a second", total=int(minutes * 60 / parts.EVERY))
            most, table, late = parts.write(client, touchpoints, customers, minutes, lambda: progress.advance(task))
        ((count, rows, size),) = client.query(STORED).rows
    finally:
        client.close()
    console.print(shown)
    console.print(
        f"After {minutes:g} minutes of 5,000 rows a second: at most {most} active parts, in {table}; {late} blocks came late."
        f" All tables together: {rows:,} rows, {size / 2**30:.1f} GiB, {count} parts."
    )
    return {**found, "max_active_parts": most}


def migrated() -> None:
    """Topics, tables and views. Raises FatalError with what `touchline migrate` says."""
    done = subprocess.run([TOUCHLINE, "migrate"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FatalError(f"touchline migrate ended with code {done.returncode}: {done.stderr.strip()}")


def calm(client: ClickHouse) -> None:
    """Wait until no parts are being merged, ten minutes at most."""
    end, still = time.monotonic() + CALM_SECONDS, 0
    while still < 3 and time.monotonic() < end:
        ((running,),) = client.query("SELECT count() FROM system.merges").rows
        still = 0 if running else still + 1
        time.sleep(1)


@click.command()
@click.option("--touchpoints", default=10_000_000, show_default=True, help="How many touchpoints the tables hold.")
@click.option("--customers", default=500_000, show_default=True, help="How many customers they belong to, a multiple of 200.")
@click.option("--minutes", default=10.0, show_default=True, help="How long 5,000 rows a second are written.")
@click.option("--records", default=400_000, show_default=True, help="How many Kafka records are drained.")
def main(touchpoints: int, customers: int, minutes: float, records: int) -> None:
    """Measure ClickHouse as analysts and the sink feel it, about a quarter of an hour with the defaults.

    Example: python -m tests.bench.clickhouse --touchpoints 300000 --customers 20000 --minutes 0.5 --records 50000
    """
    console = Console()
    results: Found = {}
    parts_of_it: tuple[Callable[[Stack], Found], ...] = (
        lambda stack: answers(stack, console, touchpoints, customers, minutes),
        lambda stack: rates.measure(stack, console, records),
    )
    try:
        for part in parts_of_it:
            with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
                migrated()
                results |= part(stack)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    console.print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
