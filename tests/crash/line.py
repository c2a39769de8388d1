"""The line as real processes: a connector, workers and sinks under crash points, kept running as a supervisor would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from deploy.local.contract import SERVICES
from deploy.local.state import home, running
from tests.crash.launch import DIED

ROOT = Path(__file__).parents[2]
ENDED_ITSELF = 70
STARTED_IN_VAIN = 1
AWAY = 30.0
PAUSE = 0.5


class LineError(AssertionError):
    """A process ended as none may end, or the line stands still."""


class Process:
    """One command over all its lives; `due` is when it is to be started again."""

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

    @property
    def well(self) -> bool:
        return self.popen.poll() is None and not self.frozen


class Line:
    """All processes of a story. `died` counts deaths at crash points."""

    def __init__(self, folder: Path, settings: Path, workers: int, sinks: int) -> None:
        self.folder = folder
        self.died = 0
        self._away_until = 0.0
        commands = {f"worker-{number}": ["work", "--name", f"worker-{number}"] for number in range(workers)}
        commands |= {f"sink-{number}": ["sink"] for number in range(sinks)}
        commands["connector"] = ["connect", "files", "--settings", str(settings)]
        self.processes = {name: Process(name, command, folder) for name, command in commands.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.kill_all()

    def of(self, kind: str) -> list[Process]:
        """The living processes of a kind that are not frozen."""
        return [process for process in self.processes.values() if process.kind == kind and process.well]

    def tend(self) -> None:
        """Start again what ended, at once where it was killed. Raises LineError for an end that is not to happen."""
        for process in self.processes.values():
            code = process.popen.poll()
            if code is None:
                continue
            if process.due is None:
                self._note(process, code)
            elif time.monotonic() >= process.due:
                process.start()

    def _note(self, process: Process, code: int) -> None:
        """A process may be killed, die at a point, end itself, or find nobody to start with while a service is away."""
        process.due = time.monotonic()
        if process.killed and code == -signal.SIGKILL:
            return
        if code == DIED:
            self.died += 1
        elif code == ENDED_ITSELF or (code == STARTED_IN_VAIN and time.monotonic() < self._away_until):
            process.due += PAUSE
        else:
            raise LineError(f"{process.name} ended with {code}; its last words:\n{self._last_words(process)}")

    def _last_words(self, process: Process) -> str:
        return "\n".join(process.log.read_text(errors="replace").splitlines()[-12:])

    def order(self, kind: str, point: str, alive: int) -> Path:
        """Whoever of this kind passes `point` once more after `alive` times is to die there; the file goes when one does."""
        path = self.folder / f"{kind}.order"
        path.with_suffix(".new").write_text(f"{point} {alive}")
        return path.with_suffix(".new").rename(path)

    def passed(self) -> set[str]:
        """Every crash point that any process passed so far."""
        path = self.folder / "passed"
        return set(path.read_text().split()) if path.exists() else set()

    def kill_service(self, name: str) -> None:
        """Kill Kafka or ClickHouse; the stack's supervisor starts it again."""
        stack = running(home())
        if stack is None or (pid := stack.service(name).pid) is None:
            raise LineError(f"{name} does not run")
        self._away_until = time.monotonic() + AWAY
        os.kill(pid, signal.SIGKILL)

    def serves(self, name: str) -> bool:
        """Whether a service answers."""
        stack = running(home())
        services = {service.NAME: service for service in SERVICES}
        return stack is not None and stack.service(name).alive and services[name].ready(stack.ports)

    def kill_all(self) -> None:
        """Nothing works after this."""
        for process in self.processes.values():
            process.kill()

    def stop(self) -> None:
        """End all as an operator would. Raises LineError for one that does not end well in time."""
        for process in self.processes.values():
            process.popen.terminate()
        codes = {process.name: process.popen.wait(timeout=30) for process in self.processes.values()}
        # one that was started just now ends by the signal itself: it has nothing in hand yet
        if wrong := {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}:
            raise LineError(f"asked to end, these ended badly: {wrong}")
