"""The `touchline` command: finds its subcommands in `deploy/commands` and the local stack's addresses in its state file."""

import importlib
import pkgutil
import sys

import click

import deploy.commands
from deploy.local.state import export_addresses
from deploy.terminal.program import with_path
from schemas.errors import TouchlineError


class Commands(click.Group):
    """Subcommands by convention: `deploy/commands/dead_letters.py` is `touchline dead-letters`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(deploy.commands.__path__))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"deploy.commands.{name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="touchline")
def touchline() -> None:
    """Every customer touchpoint on one line: connect sources, follow journeys, read satisfaction and churn.

    Example: touchline up && touchline demo
    """
    export_addresses()


def main() -> None:
    """Console script: an expected error is one line and an exit code, never a traceback."""
    try:
        touchline()
    except TouchlineError as error:
        click.secho(f"touchline: {with_path(str(error))}", fg="red", err=True)
        sys.exit(error.exit_code)
