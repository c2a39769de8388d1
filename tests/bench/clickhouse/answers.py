"""Runs the four questions on merged parts, during steady writing, and right after it."""

import time

import psutil
from rich.console import Console
from rich.progress import Progress

from deploy.local.state import Stack
from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse import output, parts
from tests.bench.clickhouse.bars import Bar
from tests.bench.clickhouse.concurrent_reader import read_concurrently
from tests.bench.clickhouse.fill import fill
from tests.bench.clickhouse.questions import Question, Timings, ask, questions
from tests.harness.sinks import refresh

MAX_MERGE_SECONDS = 600
STORED = """
    SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'touchline_store'
"""
Asked = list[tuple[Question, Timings]]


def measure(stack: Stack, console: Console, touchpoints: int, customers: int, minutes: float) -> list[Bar]:
    """Fill the existing tables and run the questions: on merged parts, during writing, and right after it."""
    client, server = ClickHouse(), psutil.Process(stack.service("clickhouse").pid)
    try:
        with Progress(console=console) as progress:
            fill(client, progress, touchpoints, customers)
            task = progress.add_task("merges of parts come to rest", total=None)
            wait_for_merges(client)
            progress.remove_task(task)
            at_rest = run_questions(client, server, progress, touchpoints, customers)
            task = progress.add_task("5,000 rows a second", total=int(minutes * 60 / parts.EVERY))
            with read_concurrently([question for question, _ in at_rest]) as meanwhile:
                written = parts.write(client, touchpoints, customers, minutes, lambda: progress.advance(task))
            progress.remove_task(task)
            parts.read(client, touchpoints, written.touchpoints, customers)
            after = run_questions(client, server, progress, touchpoints + written.touchpoints, customers)
        ((count, rows, size),) = client.query(STORED).rows
    finally:
        client.close()
    console.print(
        output.at_rest(f"{touchpoints:,} touchpoints of {customers:,} customers, 3 % stored twice, 1 % merged", at_rest)
    )
    console.print(output.compare_reads(meanwhile, after))
    console.print(
        f"{minutes:g} minutes of 5,000 rows a second: at most {written.max_parts} active parts, in {written.table};"
        f" {written.late:.1%} of the blocks came late."
        f" All tables together: {rows:,} rows, {size / 2**30:.1f} GiB, {count} parts."
    )
    bars = [Bar(f"{question.name}_p95_seconds", timings.p95, question.limit_seconds) for question, timings in at_rest]
    bars += [
        Bar("max_active_parts", written.max_parts, parts.MAX_PARTS),
        Bar("late_blocks_share", written.late, parts.MAX_LATE_SHARE),
    ]
    console.print(output.larger(touchpoints, size * touchpoints / (touchpoints + written.touchpoints), at_rest))
    return bars


def run_questions(client: ClickHouse, server: psutil.Process, progress: Progress, touchpoints: int, customers: int) -> Asked:
    """Refresh the tables by day, run every question and check each answer."""
    refresh()
    found: Asked = []
    for question in questions(touchpoints, customers, client):
        task = progress.add_task(f"{question.name}, run and checked", total=None)
        timings = ask(client, question, server, lambda task=task: progress.advance(task))  # type: ignore[misc]
        progress.remove_task(task)
        found.append((question, timings))
    return found


def wait_for_merges(client: ClickHouse) -> None:
    """Wait until no merge runs, for ten minutes at most."""
    end, still = time.monotonic() + MAX_MERGE_SECONDS, 0
    while still < 3 and time.monotonic() < end:
        ((running,),) = client.query("SELECT count() FROM system.merges").rows
        still = 0 if running else still + 1
        time.sleep(1)
