"""Start and stop the local stack of one home folder. This is the Python side of `touchline up` and `touchline down`.

stack = up(Path("/some/folder"))    # returns when Kafka and ClickHouse serve; harmless when they do already
down(Path("/some/folder"))          # returns when no process is left; harmless when none was there
"""

import os
import tempfile
import time
from pathlib import Path

import psutil

from deploy.local import locks, ports, processes, state
from deploy.local.contract import SERVICES, Service
from deploy.local.progress import Step, no_output
from deploy.local.state import Stack
from deploy.local.tools import fetch_tools
from schemas.errors import ConfigError, FatalError, RetryableError

READY_SECONDS = 60.0
SUPERVISOR_STOP_SECONDS = 25.0
SERVICE_STOP_SECONDS = 15.0
MAX_RESTARTS = 2
MAX_LINES = 6


def up(home: Path, step: Step = no_output) -> Stack:
    """Returns once both services answer. When it raises instead, it has left no process that it started."""
    home = home.resolve()
    state.make_private(home)
    fetch_tools(home, step)
    with locks.exclusive(home / "lock", step):
        if running := state.running(home):
            return _await_ready(home, running, step)
        _end_all(home)
        # Only one stack of this user at a time chooses ports and binds them, or two could choose the same.
        with locks.exclusive(Path(tempfile.gettempdir()) / f"touchline-{os.getuid()}.lock", step):
            return _start(home, step)


def down(home: Path) -> None:
    """Returns once no process of this home is left, however they were lost track of. Data, ports and tools stay."""
    home = home.resolve()
    if home.is_dir():
        with locks.exclusive(home / "lock"):
            _end_all(home)
    else:
        _end_all(home)


def _start(home: Path, step: Step) -> Stack:
    chosen = ports.choose(ports.read(home / "ports.json"))
    (home / "ports.json").write_text(chosen.model_dump_json())
    with step("prepare data folders"):
        for service in SERVICES:
            service.prepare(home, chosen)
            _rotate_log(home, service.NAME)
    _rotate_log(home, "supervisor")
    try:
        supervisor = processes.start_supervisor(home, _log(home, "supervisor"))
        return _await_ready(home, _await_supervisor(home, supervisor), step)
    except BaseException:
        _end_all(home)
        raise


def _end_all(home: Path) -> None:
    processes.end(processes.supervisors(home), SUPERVISOR_STOP_SECONDS)
    processes.end(processes.services(home), SERVICE_STOP_SECONDS)
    state.state_file(home).unlink(missing_ok=True)


def _await_supervisor(home: Path, supervisor: psutil.Process) -> Stack:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if stack := state.running(home):
            return stack
        if not processes.alive(supervisor):
            break
        time.sleep(0.05)
    raise FatalError(f"the supervisor of the local stack ended at once:{_last_lines(home, 'supervisor')}")


def _await_ready(home: Path, stack: Stack, step: Step) -> Stack:
    end = time.monotonic() + READY_SECONDS
    for service in SERVICES:
        with step(f"wait for {service.TITLE} on {service.address(stack.ports)}"):
            while not service.ready(stack.ports):
                _check_progress(home, service, stack.service(service.NAME).restarts)
                if time.monotonic() > end:
                    raise RetryableError(
                        f"{service.TITLE} does not answer in {READY_SECONDS:.0f} s:{_last_lines(home, service.NAME)}\n"
                        f"Look into {_log(home, service.NAME)}, then run `touchline down` and `touchline up`"
                    )
                time.sleep(0.05)
    return state.running(home) or stack


def _check_progress(home: Path, service: Service, restarts: int) -> None:
    """Raises where waiting longer is in vain."""
    now = state.running(home)
    if now is None:
        raise FatalError(f"the supervisor of the local stack ended:{_last_lines(home, 'supervisor')}\nRun `touchline up` again")
    if now.service(service.NAME).restarts - restarts >= MAX_RESTARTS:
        raise ConfigError(
            f"{service.TITLE} ends each time it is started. Its last words:{_last_lines(home, service.NAME)}\n"
            f"If its data folder is damaged, start afresh, losing what is in it: touchline down && rm -r {service.data(home)}"
            f" {home / 'clickhouse' / 'data'} {home / 'work'}"
        )


def _log(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"


def _rotate_log(home: Path, name: str) -> None:
    """Each start has a log of its own; the one before is kept."""
    path = _log(home, name)
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.replace(path.with_suffix(".log.1"))


def _last_lines(home: Path, name: str) -> str:
    """The end of a log without stack frames and repetitions, each line cut to a readable length, indented."""
    try:
        lines = _log(home, name).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = list(dict.fromkeys(line for line in lines if line.strip() and not line.startswith(("\tat ", "\t..."))))
    return "".join(f"\n  {line[:200]}" for line in told[-MAX_LINES:]) or "\n  (nothing)"
