"""`touchline down`: stop all processes of the local stack and keep its data."""

import click

from deploy.local import state
from deploy.local.progress import show_steps
from deploy.local.stack import down
from deploy.terminal.console import console, print_line


@click.command()
def command() -> None:
    """Stop Kafka and ClickHouse, keep their data.

    Does nothing if they do not run.

    Example: touchline down
    """
    on = console()
    with show_steps(on)("stop Kafka and ClickHouse"):
        down(state.home())
    print_line(on, f"Touchline is down. Its data is in {state.home()}.")
