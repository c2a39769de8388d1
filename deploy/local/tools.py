"""Download of the programs of the stack into the tools folder."""

from pathlib import Path

from deploy.local import locks, prerequisites, state
from deploy.local.contract import SERVICES
from deploy.local.progress import Step, no_output


def fetch_tools(home: Path, step: Step = no_output) -> None:
    """Download the programs that are missing. Raises ConfigError for a missing prerequisite."""
    tools = state.tools_folder(home)
    prerequisites.require({name for service in SERVICES for name in service.list_required_programs(tools)})
    for service in SERVICES:
        if service.is_fetched(tools):
            continue
        with step(f"download {service.TITLE} (once)"), locks.hold_lock(tools / "lock", setting=state.TOOLS):
            # Another stack that shares the folder may have downloaded it during the wait.
            if not service.is_fetched(tools):
                service.fetch(tools)
