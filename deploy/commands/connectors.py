"""`touchline connectors`: the connectors, and where their sample settings are."""

import click


@click.command()
def command() -> None:
    """List the connectors and the place of their sample settings.

    Example: touchline connectors
    """
    from importlib import import_module
    from pathlib import Path

    from connectors.settings import FOLDER, list_connectors
    from deploy.terminal.console import console, print_line
    from deploy.terminal.program import command as line
    from deploy.terminal.table import table
    from deploy.terminal.text import printable

    on, made = console(), table("connector", "~source")
    for name in list_connectors():
        summary = (import_module(f"connectors.{name}").__doc__ or "").strip().splitlines()[0]
        made.add_row(*map(printable, (name, summary)))
    on.print(made)
    samples = FOLDER.relative_to(Path.cwd()) if FOLDER.is_relative_to(Path.cwd()) else FOLDER
    print_line(on, f"Sample settings: {samples}/NAME/minimal.yaml and full.yaml. Check the source of one connector:")
    print_line(on, f"  {line(f'connect files --settings {samples}/files/minimal.yaml --check')}")
