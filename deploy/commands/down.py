"""`touchline down`: no process of the local stack is left; its data stays."""

import click
from rich.console import Console

from deploy.local import state
from deploy.local.progress import shown_on
from deploy.local.stack import down


@click.command()
def command() -> None:
    """Stop Kafka and ClickHouse on this machine; their data stays.

    Harmless when nothing runs.

    Example: touchline down
    """
    console = Console(soft_wrap=True, highlight=False)
    with shown_on(console)("stop Kafka and ClickHouse"):
        down(state.home())
    console.print(f"Touchline is down. Its data is in {state.home()}.", markup=False)
