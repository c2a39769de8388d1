"""`make bench`: measure engine, whole line and state in one run; print tables and write `tests/bench/results.json`."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from deploy.local.state import Stack
from schemas.errors import TouchlineError
from tests.bench import state
from tests.bench.line import measure as line
from tests.bench.plain import runner as plain
from tests.harness.stack import running_stack

RESULTS = Path(__file__).with_name("results.json")
PARTS: dict[str, Callable[[Stack, Console], dict[str, float]]] = {
    "plain": plain.measure,
    "line": line.measure,
    "state": state.measure,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
def main(parts: tuple[str, ...]) -> None:
    """Measure PARTS (default: all of them, about 12 minutes), each on a stack of its own.

    Example: python -m tests.bench line
    """
    console, results = Console(), {}
    try:
        for part in parts or PARTS:
            console.rule(part)
            with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
                results.update(PARTS[part](stack, console))
    except TouchlineError as error:
        raise click.ClickException(str(error)) from error
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
