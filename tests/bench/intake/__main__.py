"""`python -m tests.bench.intake`: the intake alone, on a stack of its own."""

import json
import tempfile
from pathlib import Path

import click
from rich.console import Console

from schemas.errors import TouchlineError
from tests.bench.intake.measure import SECONDS, measure
from tests.harness.stack import running_stack


@click.command()
@click.option(
    "--seconds", default=SECONDS, show_default=True, help="Of batches, of single events, and half as many without Kafka."
)
def main(seconds: int) -> None:
    """Measure the intake: batches, single events at a steady rate, and batches while Kafka is frozen.

    Example: python -m tests.bench.intake --seconds 10
    """
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
            found = measure(stack, console, seconds)
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    console.print_json(json.dumps(found))


if __name__ == "__main__":
    main()
