"""`touchline doctor`: check the programs that this machine must have, and print the command that installs each missing one."""

import sys

import click
from rich.console import Console
from rich.text import Text

from deploy.local import health, state
from deploy.local.prerequisites import Finding, examine
from deploy.terminal.console import console, print_line
from deploy.terminal.table import table
from schemas.errors import ConfigError


@click.command()
def command() -> None:
    """Check the programs that Touchline needs.

    For each missing program, the command that installs it is printed. Ends with code 1 if a required program is missing.

    Example: touchline doctor
    """
    findings = examine(state.home())
    show_findings(console(), findings)
    if not all(finding.ok for finding in findings if finding.required):
        sys.exit(1)


def show_findings(on: Console, findings: list[Finding]) -> None:
    """Print one row per requirement, the remedies, and the state of the local stack."""
    made = table("requirement", "", "found", "~purpose")
    for finding in findings:
        made.add_row(finding.name, _verdict(finding), finding.found, Text(finding.purpose))
    on.print(made)
    for finding in findings:
        if not finding.ok:
            print_line(on, f"{finding.name}: {finding.remedy}")
    print_line(on, _local_stack())


def _verdict(finding: Finding) -> Text:
    if finding.ok:
        return Text("ok", "green")
    return Text("missing", "red") if finding.required else Text("optional", "yellow")


def _local_stack() -> str:
    try:
        _, services = health.examine(state.home())
    except ConfigError as error:
        return str(error)
    return "Local stack: " + ", ".join(f"{service.service} {service.state}" for service in services)
