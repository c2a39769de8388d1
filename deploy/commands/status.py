"""`touchline status`: what runs where, as the services themselves answer."""

import json
import sys

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from deploy.local import state
from deploy.local.clickhouse.server import http_address
from deploy.local.health import Health, State, examine
from deploy.local.state import Stack

NOT_ALL_UP = 3
COLOURS = {State.UP: "green", State.STARTING: "yellow", State.DOWN: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on standard output.")
def command(*, as_json: bool) -> None:
    """Show whether Kafka and ClickHouse run on this machine, and where. Ends with 3 unless both serve.

    Example: touchline status --json
    """
    stack, services = examine(state.home())
    if as_json:
        click.echo(json.dumps(document(stack, services), indent=2))
    else:
        show(stack, services)
    if any(service.state is not State.UP for service in services):
        sys.exit(NOT_ALL_UP)


def document(stack: Stack | None, services: list[Health]) -> dict[str, object]:
    return {
        "home": str(state.home()),
        "supervisor_pid": stack.supervisor_pid if stack and stack.alive else None,
        "clickhouse_http": f"http://{http_address(stack.ports)}" if stack else None,
        "services": [service.model_dump(mode="json") for service in services],
    }


def show(stack: Stack | None, services: list[Health]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("service", "state", "address", "pid", "restarts", "data", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for service in services:
        table.add_row(
            service.service,
            f"[{COLOURS[service.state]}]{service.state}[/]",
            service.address or "-",
            str(service.pid or "-"),
            str(service.restarts),
            decimal(service.data_bytes),
        )
    console.print(table)
    if stack is None or not stack.alive:
        console.print("Start it with: touchline up")
        return
    url = f"http://{http_address(stack.ports)}"
    console.print(f"Query: curl {url} --data-binary 'SELECT version()'")
    console.print(f"In the browser: {url}/play")
