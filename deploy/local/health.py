"""Health of the services of one home folder, from the services themselves."""

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deploy.local import state
from deploy.local.contract import SERVICES, Service
from deploy.local.state import Stack


class State(StrEnum):
    """State of a service. `starting`: it has a process, or gets one after the supervisor's pause, but does not serve yet."""

    UP = "up"
    STARTING = "starting"
    DOWN = "down"


class Health(BaseModel):
    """Health of one service now. `data_bytes` is the disk space of its data folder."""

    model_config = ConfigDict(frozen=True)

    service: str
    state: State
    address: str | None
    pid: int | None
    restarts: int
    data_bytes: int


def examine(home: Path) -> tuple[Stack | None, list[Health]]:
    """Return the stack of the state file, and the health of each service. Raises ConfigError for a damaged file."""
    stack = state.read(home)
    return stack, [_examine(home, stack, service) for service in SERVICES]


def _examine(home: Path, stack: Stack | None, service: Service) -> Health:
    if stack is None:
        return Health(
            service=service.NAME,
            state=State.DOWN,
            address=None,
            pid=None,
            restarts=0,
            data_bytes=_size(service.data(home)),
        )
    service_process = stack.service(service.NAME)
    absent = State.STARTING if stack.is_alive else State.DOWN
    return Health(
        service=service.NAME,
        state=State.UP if service_process.is_alive and service.is_ready(stack.ports) else absent,
        address=service.address(stack.ports),
        pid=service_process.pid if service_process.is_alive else None,
        restarts=service_process.restarts,
        data_bytes=_size(service.data(home)),
    )


def _size(folder: Path) -> int:
    """Return the bytes of the blocks in use. Kafka's indexes are sparse, so their lengths are larger."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total
