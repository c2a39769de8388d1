"""Start and stop of the local stack of one home folder, for `touchline up`, `touchline down` and Python programs.

stack = up(Path("/some/folder"))    # returns when Kafka and ClickHouse serve; a running stack stays as it is
down(Path("/some/folder"))          # returns when no process is left
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
    """Start the stack and return when both services answer. After an error, no process that it started is left.

    Raises ConfigError for a running stack without its password file, which no command can log in to.
    """
    home = home.resolve()
    state.make_private(home)
    state.make_secret(home)
    fetch_tools(home, step)
    with locks.hold_lock(home / "lock", step):
        if running := state.read_running(home):
            state.read_password(home)
            return _await_ready(home, running, step)
        _end_all(home)
        # Two stacks that start at the same time could choose the same ports.
        with locks.hold_lock(Path(tempfile.gettempdir()) / f"touchline-{os.getuid()}.lock", step, setting="TMPDIR"):
            return _start(home, step)


def down(home: Path) -> None:
    """Stop every process of this home folder, also without its state file. Data, ports and tools stay."""
    home = home.resolve()
    if home.is_dir():
        with locks.hold_lock(home / "lock"):
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
    processes.end(processes.find_supervisors(home), SUPERVISOR_STOP_SECONDS)
    processes.end(processes.find_services(home), SERVICE_STOP_SECONDS)
    state.state_file(home).unlink(missing_ok=True)


def _await_supervisor(home: Path, supervisor: psutil.Process) -> Stack:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if stack := state.read_running(home):
            return stack
        if not processes.is_alive(supervisor):
            break
        time.sleep(0.05)
    raise FatalError(f"the supervisor of the local stack ended during its start:{_last_lines(home, 'supervisor')}")


def _await_ready(home: Path, stack: Stack, step: Step) -> Stack:
    end = time.monotonic() + READY_SECONDS
    for service in SERVICES:
        with step(f"wait for {service.TITLE} on {service.address(stack.ports)}"):
            while not service.is_ready(stack.ports):
                _check_progress(home, service, stack.service(service.NAME).restarts)
                if time.monotonic() > end:
                    raise RetryableError(
                        f"{service.TITLE} does not answer in {READY_SECONDS:.0f} s:{_last_lines(home, service.NAME)}\n"
                        f"Look into {_log(home, service.NAME)}, then run `touchline down` and `touchline up`"
                    )
                time.sleep(0.05)
    return state.read_running(home) or stack


def _check_progress(home: Path, service: Service, restarts: int) -> None:
    """Raise an error where the service cannot become ready."""
    now = state.read_running(home)
    if now is None:
        raise FatalError(f"the supervisor of the local stack ended:{_last_lines(home, 'supervisor')}\nRun `touchline up` again")
    if now.service(service.NAME).restarts - restarts >= MAX_RESTARTS:
        raise ConfigError(
            f"{service.TITLE} ends at each start. The end of its log:{_last_lines(home, service.NAME)}\n"
            f"If its data folder is damaged, start empty, with the loss of its data: touchline down && rm -r {service.data(home)}"
            f" {home / 'clickhouse' / 'data'} {home / 'work'}"
        )


def _log(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"


def _rotate_log(home: Path, name: str) -> None:
    """Start a new log file and keep the previous one."""
    path = _log(home, name)
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.replace(path.with_suffix(".log.1"))


def _last_lines(home: Path, name: str) -> str:
    """Return the end of a log, indented, without stack frames and repeated lines, each line cut to 200 characters."""
    try:
        lines = _log(home, name).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    last = list(dict.fromkeys(line for line in lines if line.strip() and not line.startswith(("\tat ", "\t..."))))
    return "".join(f"\n  {line[:200]}" for line in last[-MAX_LINES:]) or "\n  (nothing)"
