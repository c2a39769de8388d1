"""`touchline doctor`: check the programs that this machine must have, and print the command that installs each missing one."""

import sys

import click
from rich.console import Console
from rich.text import Text

from deploy.local import health, state
from deploy.local.prerequisites import Finding, examine
from deploy.terminal.console import console, print_line
from deploy.terminal.table import table


@click.command()
def command() -> None:
    """Check the programs that Touchline needs.

    For each missing program, the command that installs it is printed. Ends with code 1 if a required program is missing, and
    with code 2 if the local stack cannot be read.

    Example: touchline doctor
    """
    findings = examine(state.home())
    show_findings(console(), findings)
    print_line(console(), _describe_local_stack())
    if not all(finding.ok for finding in findings if finding.required):
        sys.exit(1)


def show_findings(on: Console, findings: list[Finding]) -> None:
    """Print one row per requirement, and the remedies."""
    made = table("requirement", "", "found", "~purpose")
    for finding in findings:
        made.add_row(finding.name, _verdict(finding), finding.found, Text(finding.purpose))
    on.print(made)
    for finding in findings:
        if not finding.ok:
            print_line(on, f"{finding.name}: {finding.remedy}")


def _verdict(finding: Finding) -> Text:
    if finding.ok:
        return Text("ok", "green")
    return Text("missing", "red") if finding.required else Text("optional", "yellow")


def _describe_local_stack() -> str:
    _, services = health.examine(state.home())
    return "Local stack: " + ", ".join(f"{service.service} {service.state}" for service in services)
