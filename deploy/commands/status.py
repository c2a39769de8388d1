"""`touchline status`: state and address of Kafka and ClickHouse, as the services report them."""

import json
import sys

import click
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from deploy.local import state
from deploy.local.clickhouse.server import curl, http_address
from deploy.local.health import Health, State, examine
from deploy.local.state import Stack
from deploy.terminal.console import console, print_line
from deploy.terminal.program import command as line
from deploy.terminal.table import table

NOT_ALL_UP = 3
COLOURS = {State.UP: "green", State.STARTING: "yellow", State.DOWN: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> None:
    """Show state and address of Kafka and ClickHouse.

    Ends with code 3 unless both of them serve.

    Example: touchline status --json
    """
    stack, services = examine(state.home())
    if as_json:
        click.echo(json.dumps(to_json(stack, services), indent=2))
    else:
        show_services(console(), stack, services)
    if any(service.state is not State.UP for service in services):
        sys.exit(NOT_ALL_UP)


def to_json(stack: Stack | None, services: list[Health]) -> dict[str, object]:
    """Return the document that `--json` prints."""
    return {
        "home": str(state.home()),
        "supervisor_pid": stack.supervisor_pid if stack and stack.is_alive else None,
        "clickhouse_http": f"http://{http_address(stack.ports)}" if stack else None,
        "services": [service.model_dump(mode="json") for service in services],
    }


def show_services(on: Console, stack: Stack | None, services: list[Health]) -> None:
    """Print one row per service, and the next step."""
    made = table("service", "state", "address", ">pid", ">restarts", ">data")
    for service in services:
        made.add_row(
            service.service,
            Text(service.state, COLOURS[service.state]),
            service.address or "-",
            str(service.pid or "-"),
            str(service.restarts),
            decimal(service.data_bytes),
        )
    on.print(made)
    if stack is None or not stack.is_alive:
        print_line(on, f"Start it with: {line('up')}")
        return
    print_line(on, f"Query: {curl(state.home(), stack.ports, 'SELECT version()')}")
    print_line(on, f"In the browser: http://{http_address(stack.ports)}/play")
    print_line(on, f"Log in as {state.ADMIN}, with the password in {state.password_file(state.home())}")
