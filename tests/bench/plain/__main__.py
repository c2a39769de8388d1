"""`python -m tests.bench.plain`: measure the plain fold alone, on a stack of its own."""

import json
import tempfile
from pathlib import Path

import click
from rich.console import Console

from schemas.errors import TouchlineError
from tests.bench.plain.runner import WORKLOAD, measure
from tests.bench.plain.workload import Workload
from tests.harness.stack import running_stack


@click.command()
@click.option("--touchpoints", default=WORKLOAD.touchpoints, show_default=True, help="Records for all variants but stock Faust.")
@click.option("--customers", default=WORKLOAD.customers, show_default=True, help="Number of their customers.")
@click.option("--small", default=WORKLOAD.small, show_default=True, help="Records for stock Faust.")
def main(touchpoints: int, customers: int, small: int) -> None:
    """Fold the same touchpoints with our engine, stock Faust and Quix Streams; check every answer; compare.

    Example: python -m tests.bench.plain --touchpoints 50000 --customers 1000 --small 5000
    """
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
            found = measure(stack, console, Workload(touchpoints, customers, min(small, touchpoints)))
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    console.print_json(json.dumps(found))


if __name__ == "__main__":
    main()
