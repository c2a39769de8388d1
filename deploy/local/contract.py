"""What a service of the local stack is: a module with these names, listed in the order in which `up` waits for them."""

from pathlib import Path
from typing import Protocol

from deploy.local.clickhouse import server
from deploy.local.kafka import broker
from deploy.local.ports import Ports


class Service(Protocol):
    """`up` calls fetch (once), prepare, then the supervisor runs command, then `up` asks ready until it is true.

    MARKER stands in the command line and config(home) ends it, which is how the service's processes are found again.
    """

    NAME: str
    TITLE: str
    MARKER: str

    def needs(self, tools: Path) -> tuple[str, ...]:
        """The programs that must be on PATH, by their names in prerequisites.py."""

    def fetched(self, tools: Path) -> bool: ...

    def fetch(self, tools: Path) -> None:
        """Download into `tools`, whole or not at all. RetryableError: try again later."""

    def config(self, home: Path) -> Path: ...

    def data(self, home: Path) -> Path: ...

    def prepare(self, home: Path, ports: Ports) -> None:
        """Write settings, make the data folder. ConfigError: the folder is damaged, and the text says what to do."""

    def command(self, home: Path) -> list[str]: ...

    def address(self, ports: Ports) -> str:
        """Host and port that clients use."""

    def ready(self, ports: Ports) -> bool:
        """True when clients are served; never raises, takes some seconds at most."""


SERVICES: tuple[Service, ...] = (broker, server)
