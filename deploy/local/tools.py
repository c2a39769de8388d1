"""The programs of the stack, downloaded once into the tools folder."""

from pathlib import Path

from deploy.local import locks, prerequisites, state
from deploy.local.contract import SERVICES
from deploy.local.progress import Step, silently


def fetch_tools(home: Path, step: Step = silently) -> None:
    """Download what is not there yet; quick when all is. Raises ConfigError for a missing program."""
    tools = state.tools_folder(home)
    prerequisites.require({name for service in SERVICES for name in service.needs(tools)})
    for service in SERVICES:
        if service.fetched(tools):
            continue
        with step(f"fetch {service.TITLE} (once)"), locks.exclusive(tools / "lock"):
            # Another stack that shares the folder may have fetched it while this one waited.
            if not service.fetched(tools):
                service.fetch(tools)
