"""The `touchline` command: finds its subcommands in `deploy/commands`, and the local stack's addresses in its state file."""

import importlib
import pkgutil
import sys

import click

import deploy.commands
from deploy.local.state import export_addresses
from deploy.terminal.program import expand_commands
from schemas.errors import TouchlineError
from schemas.service.exit_codes import MISCONFIGURED
from schemas.service.targets import keep_target_after_failure

WRONG_PATH = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


class Commands(click.Group):
    """Subcommands by convention: `deploy/commands/dead_letters.py` is `touchline dead-letters`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(deploy.commands.__path__))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one command, or None for an unknown name."""
        if name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"deploy.commands.{name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="touchline")
def touchline() -> None:
    """Join every customer touchpoint into one line per customer.

    Connectors publish touchpoints to Kafka, workers join them into journeys and read satisfaction and churn, and sinks store
    all of it in ClickHouse.

    Example: touchline up && touchline demo
    """
    export_addresses()


def main() -> None:
    """Run the console script: an expected error is one line and an exit code, never a traceback."""
    with keep_target_after_failure():
        try:
            touchline()
        except TouchlineError as error:
            _end(expand_commands(str(error)), error.exit_code)
        except WRONG_PATH as error:
            if error.filename is None:  # a socket that a firewall forbids, for example
                raise
            _end(
                f"cannot use {error.filename} ({error.strerror}): change its rights, or the setting that names it", MISCONFIGURED
            )


def _end(text: str, code: int) -> None:
    click.secho(f"touchline: {text}", fg="red", err=True)
    sys.exit(code)
