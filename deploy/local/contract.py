"""Contract of a service of the local stack, and the services in the order in which `up` waits for them."""

from pathlib import Path
from typing import Protocol

from deploy.local.clickhouse import server
from deploy.local.kafka import broker
from deploy.local.ports import Ports


class Service(Protocol):
    """A module with these names.

    `up` calls `fetch` (once), then `prepare`. The supervisor then runs `command`, and `up` waits until `is_ready` returns true.
    The command line contains MARKER and ends in `config(home)`; its processes are found by both.
    """

    NAME: str
    TITLE: str
    MARKER: str

    def list_required_programs(self, tools: Path) -> tuple[str, ...]:
        """Return the programs that must be on PATH, by their names in `prerequisites.py`."""

    def is_fetched(self, tools: Path) -> bool: ...

    def fetch(self, tools: Path) -> None:
        """Download into `tools`, complete or not at all. Raises RetryableError."""

    def config(self, home: Path) -> Path: ...

    def data(self, home: Path) -> Path: ...

    def prepare(self, home: Path, ports: Ports) -> None:
        """Write the settings and make the data folder. Raises ConfigError for a damaged folder, with the next step."""

    def command(self, home: Path) -> list[str]: ...

    def address(self, ports: Ports) -> str:
        """Return host and port for clients."""

    def is_ready(self, ports: Ports) -> bool:
        """Return whether clients are served. Never raises, and takes some seconds at most."""


SERVICES: tuple[Service, ...] = (broker, server)
