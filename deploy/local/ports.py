"""Which TCP ports the stack listens on: those it had before, else the standard ones, else free ones."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

# Below the range that systems hand out to outgoing connections: a client that reconnects to a port of that range while
# its server restarts can be given the very same port as its own, talks to itself, and the server cannot bind any more.
FREE = range(10_000, 30_000)


class Ports(BaseModel):
    """TCP ports on the loopback interface; the defaults are the standard ones."""

    model_config = ConfigDict(frozen=True)

    kafka: int = 9092
    kafka_controller: int = 9093
    clickhouse: int = 9000
    clickhouse_http: int = 8123


def choose(former: Ports | None) -> Ports:
    """Four ports that can be bound now. The caller holds the machine-wide lock until the services have bound them."""
    taken: set[int] = set()
    chosen = {}
    for name, standard in Ports().model_dump().items():
        port = next(port for port in _candidates(former, name, standard) if port not in taken and _bindable(port))
        taken.add(port)
        chosen[name] = port
    return Ports(**chosen)


def read(path: Path) -> Ports | None:
    """The ports of the former start; a missing or damaged file is no ports, since any will do."""
    try:
        return Ports.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _candidates(former: Ports | None, name: str, standard: int) -> Iterator[int]:
    if former is not None:
        yield getattr(former, name)
    yield standard
    yield from random.sample(FREE, len(FREE))


def _bindable(port: int) -> bool:
    """Asked by binding, never by connecting: a bare connection to its native port ends the ClickHouse library."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
