"""TCP ports of the stack: the former ones, else the standard ones, else free ones."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

# Below the range of outgoing connections. A client that reconnects to a port of that range while its server restarts can get
# the same port as its own. It then talks to itself, and the server cannot bind.
FREE_PORTS = range(10_000, 30_000)


class Ports(BaseModel):
    """TCP ports on the loopback interface; the defaults are the standard ones."""

    model_config = ConfigDict(frozen=True)

    kafka: int = 9092
    kafka_controller: int = 9093
    clickhouse: int = 9000
    clickhouse_http: int = 8123


def choose(former: Ports | None) -> Ports:
    """Return four ports that can be bound now. The caller holds the machine-wide lock until the services have bound them."""
    taken: set[int] = set()
    chosen = {}
    for name, standard in Ports().model_dump().items():
        port = next(port for port in _list_candidates(former, name, standard) if port not in taken and _is_bindable(port))
        taken.add(port)
        chosen[name] = port
    return Ports(**chosen)


def read(path: Path) -> Ports | None:
    """Return the ports of the former start, or None for a missing or damaged file."""
    try:
        return Ports.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _list_candidates(former: Ports | None, name: str, standard: int) -> Iterator[int]:
    if former is not None:
        yield getattr(former, name)
    yield standard
    yield from random.sample(FREE_PORTS, len(FREE_PORTS))


def _is_bindable(port: int) -> bool:
    """Return whether a server can bind the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
