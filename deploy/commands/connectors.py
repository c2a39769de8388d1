"""`touchline connectors`: the connectors and a sample settings file of each."""

import click


@click.command()
def command() -> None:
    """List the connectors with a sample of their settings.

    Example: touchline connectors
    """
    from importlib import import_module

    from connectors.settings import FOLDER, list_connectors
    from deploy.terminal.console import console, print_line
    from deploy.terminal.program import command as line

    on = console()
    for name in list_connectors():
        summary = (import_module(f"connectors.{name}").__doc__ or "").strip().splitlines()[0]
        sample = (FOLDER / name / "minimal.yaml").relative_to(FOLDER.parent)
        on.print(f"[bold]{name}[/]  {summary}")
        print_line(on, f"  {line(f'connect {name} --settings {sample} --check')}")
