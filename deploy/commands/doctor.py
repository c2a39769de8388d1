"""`touchline doctor`: is everything here that Touchline needs, and if not, which command brings it."""

import sys

import click
from rich.console import Console
from rich.table import Table

from deploy.local import health, state
from deploy.local.prerequisites import Finding, examine
from schemas.errors import ConfigError


@click.command()
def command() -> None:
    """Check what this machine must bring, and say how to install what is missing. Ends with 1 if something is.

    Example: touchline doctor
    """
    findings = examine(state.home())
    show(findings)
    if not all(finding.ok for finding in findings if finding.required):
        sys.exit(1)


def show(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("needed", "", "found", "what for", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for finding in findings:
        table.add_row(finding.name, verdict(finding), finding.found, finding.purpose)
    console.print(table)
    for finding in findings:
        if not finding.ok:
            console.print(f"{finding.name}: {finding.remedy}", markup=False)
    console.print(running(), markup=False)


def verdict(finding: Finding) -> str:
    if finding.ok:
        return "[green]ok[/green]"
    return "[red]missing[/red]" if finding.required else "[yellow]optional[/yellow]"


def running() -> str:
    try:
        _, services = health.examine(state.home())
    except ConfigError as error:
        return str(error)
    return "Local stack: " + ", ".join(f"{service.service} {service.state}" for service in services)
