"""`touchline up`: Kafka and ClickHouse on this machine, fetched the first time, kept running until `touchline down`."""

import click
from rich.console import Console

from deploy.local import state
from deploy.local.clickhouse.server import http_address
from deploy.local.progress import shown_on
from deploy.local.promtool import promtool
from deploy.local.stack import up
from deploy.local.tools import fetch_tools
from schemas.errors import ConfigError


@click.command()
@click.option("--download-only", is_flag=True, help="Fetch the programs and start nothing.")
def command(*, download_only: bool) -> None:
    """Start Kafka and ClickHouse on this machine, without Docker.

    Harmless when they run already. Everything is kept in ./.touchline, or in the folder that TOUCHLINE_HOME names.

    Example: touchline up && touchline status
    """
    console = Console(soft_wrap=True, highlight=False)
    if download_only:
        download(console)
        return
    before = state.running(state.home())
    stack = up(state.home(), shown_on(console))
    already = before is not None and before.supervisor_pid == stack.supervisor_pid
    console.print("Touchline is running already." if already else "Touchline is up.", style="bold")
    console.print(f"  Kafka       127.0.0.1:{stack.kafka_port}")
    console.print(f"  ClickHouse  127.0.0.1:{stack.clickhouse_port}, in the browser http://{http_address(stack.ports)}/play")


def download(console: Console) -> None:
    step = shown_on(console)
    fetch_tools(state.home(), step)
    try:
        with step("look for promtool, or fetch it"):
            promtool()
    except ConfigError as error:
        console.print(f"Going on without promtool, which only `make test` needs. {error}", markup=False)
    console.print(f"All programs are in {state.tools_folder(state.home())}.", markup=False)
