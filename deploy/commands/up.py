"""`touchline up`: start Kafka and ClickHouse on this machine; they run until `touchline down`."""

import click
from rich.console import Console

from deploy.local import state
from deploy.local.clickhouse.server import http_address, is_confined
from deploy.local.progress import show_steps
from deploy.local.promtool import promtool
from deploy.local.stack import up
from deploy.local.tools import fetch_tools
from deploy.terminal.console import console, print_line
from schemas.errors import ConfigError


@click.command()
@click.option("--download-only", is_flag=True, help="Download the programs and start nothing.")
def command(*, download_only: bool) -> None:
    """Start Kafka and ClickHouse on this machine, without Docker.

    The first start downloads them. Data and programs are in ./.touchline, or in the folder that TOUCHLINE_HOME names. Does
    nothing if both run already.

    Example: touchline up && touchline status
    """
    on = console()
    if download_only:
        download(on)
        return
    before = state.read_running(state.home())
    stack = up(state.home(), show_steps(on))
    was_running = before is not None and before.supervisor_pid == stack.supervisor_pid
    on.print("Touchline is running already." if was_running else "Touchline is up.", style="bold")
    print_line(on, f"  Kafka       127.0.0.1:{stack.kafka_port}")
    print_line(on, f"  ClickHouse  127.0.0.1:{stack.clickhouse_port}, in the browser http://{http_address(stack.ports)}/play")
    print_line(on, f"  Log in as   {state.ADMIN}, with the password in {state.password_file(state.home())}")
    if not is_confined():
        print_line(on, "This system cannot confine ClickHouse: its users can read every file of this account.")


def download(on: Console) -> None:
    """Download all programs of the stack, and promtool if that is possible."""
    step = show_steps(on)
    fetch_tools(state.home(), step)
    try:
        with step("find or download promtool"):
            promtool()
    except ConfigError as error:
        print_line(on, f"promtool is missing; only `make test` needs it. {error}")
    print_line(on, f"All programs are in {state.tools_folder(state.home())}.")
