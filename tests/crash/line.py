"""The line as real processes: a connector, workers and sinks with crash points, restarted as a supervisor does."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from deploy.local.contract import SERVICES
from deploy.local.state import home, read_running
from tests.crash.launch import DIED

ROOT = Path(__file__).parents[2]
EXIT_INTERNAL = 70
EXIT_FAILED = 1
RESTART_PAUSE_SECONDS = 0.5


class LineError(AssertionError):
    """A process ended with an unexpected code, or the line stands still."""


class Process:
    """One command over all its restarts; `due` is the time of the next start."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name, self.kind = name, arguments[0]
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", "tests.crash.launch", str(folder), *arguments]
        self.start()

    def start(self) -> None:
        self.killed = self.frozen = False
        self.due: float | None = None
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        self.killed = True
        self.popen.kill()
        self.popen.wait()

    def freeze(self) -> None:
        self.frozen = True
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        self.popen.send_signal(signal.SIGCONT)

    def log_end(self, lines: int) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def is_well(self) -> bool:
        return self.popen.poll() is None and not self.frozen


class Line:
    """All processes of a run. `died` counts deaths at crash points; `events.log` lists each end with its time and exit code."""

    def __init__(self, folder: Path, settings: Path, workers: int, sinks: int) -> None:
        self.folder = folder
        self.died = 0
        commands = {f"worker-{number}": ["work", "--no-restart", "--name", f"worker-{number}"] for number in range(workers)}
        commands |= {f"sink-{number}": ["sink", "--no-restart"] for number in range(sinks)}
        commands["connector"] = ["connect", "files", "--no-restart", "--settings", str(settings)]
        self.processes = {name: Process(name, command, folder) for name, command in commands.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.kill_all()

    def of(self, kind: str) -> list[Process]:
        """Return the living processes of a kind that are not frozen."""
        return [process for process in self.processes.values() if process.kind == kind and process.is_well]

    def restart_ended(self) -> None:
        """Restart processes that ended, killed ones at once. Raises LineError for an unexpected end."""
        for process in self.processes.values():
            code = process.popen.poll()
            if code is None:
                continue
            if process.due is None:
                self._note(process, code)
            elif time.monotonic() >= process.due:
                process.start()

    def _note(self, process: Process, code: int) -> None:
        """Record an end: killed, died at a point, internal error, or failed with one line while Kafka is down. Others raise."""
        process.due = time.monotonic()
        with (self.folder / "events.log").open("a") as events:
            events.write(f"{datetime.now(UTC):%H:%M:%S} {process.name} ended with {code}\n")
        if process.killed and code == -signal.SIGKILL:
            return
        if code == DIED:
            self.died += 1
        elif code == EXIT_INTERNAL or (code == EXIT_FAILED and process.log_end(1).startswith("touchline: ")):
            process.due += RESTART_PAUSE_SECONDS
        else:
            raise LineError(f"{process.name} ended with {code}; the end of its log:\n{process.log_end(12)}")

    def order(self, kind: str, point: str, alive: int) -> Path:
        """Order the death of a process of this kind at `point`, after `alive` passes; that process removes the file."""
        path = self.folder / f"{kind}.order"
        path.with_suffix(".new").write_text(f"{point} {alive}")
        return path.with_suffix(".new").rename(path)

    def passed(self) -> set[str]:
        """Return every crash point that any process has passed."""
        path = self.folder / "passed"
        return set(path.read_text().split()) if path.exists() else set()

    def kill_service(self, name: str) -> None:
        """Kill Kafka or ClickHouse; the supervisor of the stack restarts it."""
        stack = read_running(home())
        if stack is None or (pid := stack.service(name).pid) is None:
            raise LineError(f"{name} is not running")
        os.kill(pid, signal.SIGKILL)

    def is_serving(self, name: str) -> bool:
        """Return whether a service answers."""
        stack = read_running(home())
        services = {service.NAME: service for service in SERVICES}
        return stack is not None and stack.service(name).is_alive and services[name].is_ready(stack.ports)

    def kill_all(self) -> None:
        """Kill all processes of the line."""
        for process in self.processes.values():
            process.kill()

    def stop(self) -> None:
        """Stop all processes by SIGTERM. Raises LineError for one that does not end correctly in time."""
        for process in self.processes.values():
            process.popen.terminate()
        codes = {process.name: process.popen.wait(timeout=30) for process in self.processes.values()}
        # a process that has just started ends by the signal itself: it holds no work yet
        if wrong := {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}:
            raise LineError(f"after SIGTERM, these ended with unexpected codes: {wrong}")
