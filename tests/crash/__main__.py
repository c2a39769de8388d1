"""`make crash`: the whole line on a stack of its own, injured as often as asked, and what is left compared with the model.

Prints how often each injury was done and what was found, writes `tests/crash/results.json`, and ends with 1 where anything
is wrong: a count above zero, fewer injuries than asked, a crash point that no process ever passed, a line that stands still.
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
from tests.crash.story import Told, tell
from tests.harness.stack import running_stack

RESULTS = Path(__file__).with_name("results.json")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kills", default=200, show_default=True, type=click.IntRange(min=1), help="How many injuries.")
@click.option("--seed", default=11, show_default=True, help="Which input and which script of injuries.")
def main(kills: int, seed: int) -> None:
    """Kill and freeze connector, workers, sinks, Kafka and ClickHouse while they work, then look for what is lost or twice.

    Example: python -m tests.crash --kills 40 --seed 3
    """
    on = Console()
    folder = Path(tempfile.mkdtemp(prefix="touchline-crash-"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=on, disable=not on.is_terminal) as progress, running_stack(folder / "stack"):
            task = progress.add_task("first records", total=kills)
            told = tell(folder, seed, kills, lambda name: progress.update(task, advance=1, description=f"{name:<24}"))
    except (LineError, TouchlineError) as error:
        on.print(
            f"The story broke off: {error}\nSeed {seed}; the logs of all processes are in {folder}", style="red", markup=False
        )
        sys.exit(1)
    sys.exit(0 if report(on, told, kills, seed, folder) else 1)


def report(on: Console, told: Told, kills: int, seed: int, folder: Path) -> bool:
    """Print and write down what was found; True where nothing is wrong."""
    counts = {"kills": told.injuries.total(), **told.verdict.counts()}
    RESULTS.write_text(json.dumps(counts, indent=1) + "\n")
    on.print(injuries(told.injuries))
    on.print(findings(counts, told.touchpoints))
    for line in told.verdict.examples():
        on.print(line, style="red", markup=False, soft_wrap=True)
    for point in told.never_passed:
        on.print(f"no process ever passed {point}", style="red")
    right = counts["kills"] >= kills and not any(told.verdict.counts().values()) and not told.never_passed
    if not right:
        on.print(f"Seed {seed}; the logs of all processes are in {folder}", style="red", soft_wrap=True)
    return right


def injuries(done: Counter[str]) -> Table:
    """How often each injury was done: what to, and how or at which point."""
    table = Table("injury", "times", title="Injuries", title_justify="left", box=None)
    table.columns[1].justify = "right"
    for name, times in sorted(done.items(), key=lambda one: (one[0].startswith("crash point"), one[0])):
        table.add_row(name, str(times))
    return table


def findings(counts: dict[str, int], touchpoints: int) -> Table:
    """The counts of `results.json`."""
    table = Table("found", "count", title=f"Of {touchpoints:,} touchpoints", title_justify="left", box=None)
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), str(count), style="red" if count and name != "kills" else "")
    return table


if __name__ == "__main__":
    main()
