"""`make crash`: kill and freeze the whole line on a stack of its own, then compare the results with a model.

It prints the injuries and the findings and writes `tests/crash/results.json`. It ends with code 1 in four cases: a count is
above zero, there were fewer injuries than requested, no process passed a crash point, or the line made no progress.
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from schemas.errors import TouchlineError
from tests.crash.line import LineError
from tests.crash.run import Outcome, run_injuries
from tests.harness.stack import running_stack

RESULTS = Path(__file__).with_name("results.json")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kills", default=300, show_default=True, type=click.IntRange(min=1), help="Number of injuries.")
@click.option("--seed", default=11, show_default=True, help="Seed of the input and of the injuries.")
def main(kills: int, seed: int) -> None:
    """Kill and freeze connector, workers, sinks, rebuilds, Kafka and ClickHouse while they work, then compare all results.

    Example: python -m tests.crash --kills 40 --seed 3
    """
    on = Console()
    folder = Path(tempfile.mkdtemp(prefix="touchline-crash-"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=on, disable=not on.is_terminal) as progress, running_stack(folder / "stack"):
            task = progress.add_task("first records", total=kills)
            outcome = run_injuries(folder, seed, kills, lambda name: progress.update(task, advance=1, description=f"{name:<24}"))
    except (LineError, TouchlineError) as error:
        on.print(f"The run broke off: {error}\nSeed {seed}; the logs of all processes are in {folder}", style="red", markup=False)
        sys.exit(1)
    sys.exit(0 if report(on, outcome, kills, seed, folder) else 1)


def report(on: Console, outcome: Outcome, kills: int, seed: int, folder: Path) -> bool:
    """Print the findings and write them to the results file; return whether nothing is wrong."""
    changes = {f"{name}s": times for name, times in outcome.changes.items()}
    counts = {"kills": outcome.injuries.total(), **changes, **outcome.verdict.counts()}
    RESULTS.write_text(json.dumps(counts, indent=1) + "\n")
    on.print(make_injuries_table(outcome.injuries))
    on.print(make_findings_table(counts, outcome))
    for line in outcome.verdict.examples():
        on.print(line, style="red", markup=False, soft_wrap=True)
    for point in outcome.never_passed:
        on.print(f"no process passed {point}", style="red")
    right = counts["kills"] >= kills and not any(outcome.verdict.counts().values()) and not outcome.never_passed
    if not right:
        on.print(f"Seed {seed}; the logs of all processes are in {folder}", style="red", soft_wrap=True)
    return right


def make_injuries_table(done: Counter[str]) -> Table:
    """Return the number of injuries of each kind."""
    table = Table("injury", "times", title="Injuries", title_justify="left", box=None)
    table.columns[1].justify = "right"
    for name, times in sorted(done.items(), key=lambda one: (one[0].startswith("crash point"), one[0])):
        table.add_row(name, str(times))
    return table


def make_findings_table(counts: dict[str, int], outcome: Outcome) -> Table:
    """Return the counts of `results.json`."""
    table = Table("finding", "count", title=f"{outcome.touchpoints:,} touchpoints", title_justify="left", box=None)
    table.columns[1].justify = "right"
    wrong = outcome.verdict.counts()
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), str(count), style="red" if count and name in wrong else "")
    return table


if __name__ == "__main__":
    main()
