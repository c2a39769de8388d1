"""How the services of one home folder are, asked of the services themselves."""

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deploy.local import state
from deploy.local.contract import SERVICES, Service
from deploy.local.state import Stack


class State(StrEnum):
    """`starting` has a process, or will have one after the supervisor's pause, but does not serve yet."""

    UP = "up"
    STARTING = "starting"
    DOWN = "down"


class Health(BaseModel):
    """One service now; `data_bytes` is what its data folder takes on disk."""

    model_config = ConfigDict(frozen=True)

    service: str
    state: State
    address: str | None
    pid: int | None
    restarts: int
    data_bytes: int


def examine(home: Path) -> tuple[Stack | None, list[Health]]:
    """The stack as its file tells it, and each service as it answers. Raises ConfigError for a damaged file."""
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
    seen = stack.service(service.NAME)
    absent = State.STARTING if stack.alive else State.DOWN
    return Health(
        service=service.NAME,
        state=State.UP if seen.alive and service.ready(stack.ports) else absent,
        address=service.address(stack.ports),
        pid=seen.pid if seen.alive else None,
        restarts=seen.restarts,
        data_bytes=_size(service.data(home)),
    )


def _size(folder: Path) -> int:
    """Blocks in use, not lengths: Kafka's indexes are long files that are mostly holes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total
