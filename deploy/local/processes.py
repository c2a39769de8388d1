"""Processes of the stack of one home folder, found by their command lines.

They are found also where the state file is lost or damaged, and no other process matches.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.local.contract import SERVICES

SUPERVISOR = "deploy.local.supervisor"
# The services need no secret: a variable of the caller that is not listed here does not reach them.
ENVIRONMENT = frozenset(
    ("HOME", "JAVA_HOME", "JDK_JAVA_OPTIONS", "LANG", "LC_ALL", "PATH", "TMPDIR", "TOUCHLINE_TOOLS", "TZ", "VIRTUAL_ENV")
)


def start_supervisor(home: Path, output: Path) -> psutil.Process:
    """Start the supervisor in a session of its own, so that it outlives this terminal.

    It inherits no open file of the caller. A lock (`flock`) or a pipe would otherwise stay open as long as the stack runs.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", SUPERVISOR, str(home)],
        {name: value for name, value in os.environ.items() if name in ENVIRONMENT},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in _inherited_files()),
        ],
        setsid=True,
    )
    return psutil.Process(pid)


def _inherited_files() -> list[int]:
    """Return the descriptors above standard error that a new process would inherit."""
    numbers = []
    for number in (int(path.name) for path in Path("/dev/fd").iterdir()):
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            if number > 2 and os.get_inheritable(number):
                numbers.append(number)
    return numbers


def find_supervisors(home: Path) -> list[psutil.Process]:
    return _find_running({str(home): {SUPERVISOR}})


def find_services(home: Path) -> list[psutil.Process]:
    """Return the processes of Kafka and ClickHouse, program or library."""
    return _find_running({str(service.config(home)): {service.MARKER, "server"} for service in SERVICES})


def end(targets: list[psutil.Process], grace: float) -> None:
    """Terminate processes, and kill those that still run after `grace` seconds."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in targets:
            with suppress(psutil.NoSuchProcess):
                ask(process)
        targets = _wait_for_end(targets, grace)


def is_alive(process: psutil.Process) -> bool:
    """Return whether it runs. A zombie does not; a zombie child of this process is also reaped."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _find_running(endings: dict[str, set[str]]) -> list[psutil.Process]:
    """Return processes whose command line ends in one of these files and contains one of its markers."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or [""]
        if endings.get(line[-1].removeprefix("--config-file="), set()).intersection(line):
            found.append(process)
    return found


def _wait_for_end(targets: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    end_at = time.monotonic() + seconds
    while (targets := [process for process in targets if is_alive(process)]) and time.monotonic() < end_at:
        time.sleep(0.05)
    return targets
