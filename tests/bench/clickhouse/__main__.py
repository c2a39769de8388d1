"""`make bench-clickhouse`: query times at ten million touchpoints and the rate of the sink, as tables and JSON."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from deploy.local.state import Stack
from schemas.errors import FatalError, TouchlineError
from tests.bench.clickhouse import answers, bars, rates
from tests.bench.clickhouse.bars import Bar
from tests.harness.stack import TOUCHLINE, running_stack

RESULTS = Path(__file__).parents[1] / "clickhouse.json"


def migrate() -> None:
    """Create topics, tables and views. Raises FatalError with the output of `touchline migrate`."""
    done = subprocess.run([TOUCHLINE, "migrate"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FatalError(f"touchline migrate ended with code {done.returncode}: {done.stderr.strip()}")


@click.command()
@click.option("--touchpoints", default=10_000_000, show_default=True, help="How many touchpoints the tables hold.")
@click.option("--customers", default=500_000, show_default=True, help="How many customers they belong to, a multiple of 200.")
@click.option("--minutes", default=10.0, show_default=True, help="How long 5,000 rows a second are written.")
@click.option("--records", default=400_000, show_default=True, help="How many Kafka records are drained.")
def main(touchpoints: int, customers: int, minutes: float, records: int) -> None:
    """Measure the query times of analysts and the rate of the sink, in about 15 minutes with the defaults.

    Ends with code 1 where a limit is missed. Small runs are quick to answer, and their rates are rough.

    Example: python -m tests.bench.clickhouse --touchpoints 300000 --customers 20000 --minutes 0.5 --records 200000
    """
    console, measured = Console(), list[Bar]()
    parts_of_it: tuple[Callable[[Stack], list[Bar]], ...] = (
        lambda stack: answers.measure(stack, console, touchpoints, customers, minutes),
        lambda stack: rates.measure(stack, console, records),
    )
    try:
        for part in parts_of_it:
            with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
                migrate()
                measured += part(stack)
            RESULTS.write_text(json.dumps({bar.figure: bar.found for bar in measured}, indent=1) + "\n")
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    console.print(bars.shown(measured))
    console.print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    if missed := bars.missed(measured):
        raise click.ClickException(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
