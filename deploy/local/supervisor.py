"""Supervisor of the services of one home folder: `python -m deploy.local.supervisor HOME`, started by `touchline up`.

A service that ends is restarted with its data. The pause before a restart doubles while the service ends before it serves
clients; a service that was healthy restarts after the shortest pause. SIGTERM, or the loss of the state file, stops the
services and then the supervisor. The supervisor signals only its own children.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from deploy.local import ports, state
from deploy.local.contract import SERVICES
from deploy.local.state import Stack, Supervised
from schemas.errors import ConfigError
from schemas.service.log import configure_logging

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1
HEALTH_CHECK_SECONDS = 1.0
PR_SET_PDEATHSIG = 1

log = logging.getLogger("touchline.supervisor")


def compute_pause(failures: int) -> float:
    """Return the seconds before the next start, after `failures` runs in a row that never became healthy."""
    return min(MIN_PAUSE_SECONDS * 2.0 ** min(failures, 10), MAX_PAUSE_SECONDS)


class Child:
    """One service over all its runs. `is_ready` returns whether it serves clients."""

    def __init__(self, name: str, command: list[str], output: Path, is_ready: Callable[[], bool]) -> None:
        self.name, self.command, self.output = name, command, output
        self._is_ready = is_ready
        self.failures = self.restarts = 0
        self.due = 0.0
        self.start()

    def start(self) -> None:
        """Start the service and append its output to the log."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 no shell, fixed program
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 the supervisor has one thread
            )
        self.is_healthy = False
        self._next_check = time.monotonic()
        self.status = Supervised(
            name=self.name,
            pid=self.process.pid,
            started=psutil.Process(self.process.pid).create_time(),
            restarts=self.restarts,
        )
        log.info("%s started, pid %d", self.name, self.process.pid)

    def check(self) -> bool:
        """Detect an end, or restart after the pause. Return whether `status` changed."""
        if self.due:
            if time.monotonic() < self.due:
                return False
            self.due = 0.0
            self.restarts += 1
            self.start()
            return True
        code = self.process.poll()
        if code is None:
            self._check_health()
            return False
        seconds = compute_pause(self.failures)
        self.due = time.monotonic() + seconds
        self.failures += 1
        log.warning("%s ended with code %d, next start in %.1f s", self.name, code, seconds)
        self.status = Supervised(name=self.name, restarts=self.restarts)
        return True

    def _check_health(self) -> None:
        """Forget the failures once the service serves clients."""
        if not self.is_healthy and time.monotonic() >= self._next_check:
            self.is_healthy = self._is_ready()
            self.failures = 0 if self.is_healthy else self.failures
            self._next_check = time.monotonic() + HEALTH_CHECK_SECONDS


class Supervisor:
    """Loop over all services of one home folder."""

    def __init__(self, home: Path) -> None:
        chosen = ports.read(home / "ports.json")
        if chosen is None:
            raise ConfigError(f"{home / 'ports.json'} is missing or damaged: `touchline up` writes it, then starts this program")
        self.home = home
        self.is_stopping = False
        self._ports = chosen
        self.children: list[Child] = []
        self.stack = Stack(
            supervisor_pid=os.getpid(),
            supervisor_started=psutil.Process().create_time(),
            kafka_port=chosen.kafka,
            kafka_controller_port=chosen.kafka_controller,
            clickhouse_port=chosen.clickhouse,
            clickhouse_http_port=chosen.clickhouse_http,
        )

    def run(self) -> None:
        """Start the services and keep them running until SIGTERM, or until the state file is gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for service in SERVICES:
                output = self.home / "log" / f"{service.NAME}.log"
                is_ready = partial(service.is_ready, self._ports)
                self.children.append(Child(service.NAME, service.command(self.home), output, is_ready))
            self._write()
            while not self.is_stopping and state.state_file(self.home).exists():
                changes = [child.check() for child in self.children]
                if any(changes):
                    self._write()
                time.sleep(POLL_SECONDS)
        finally:
            stop([child.process for child in self.children])
            state.state_file(self.home).unlink(missing_ok=True)
            log.info("stopped")

    def _stop(self, *_: object) -> None:
        self.is_stopping = True

    def _write(self) -> None:
        state.write(self.home, self.stack.model_copy(update={"services": tuple(child.status for child in self.children)}))


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Send SIGTERM to all processes at once, and kill those that are left after `STOP_SECONDS`."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """In the child: on Linux, let the kernel end it when its supervisor dies. Elsewhere `up` and `down` find and end it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    os.umask(0o077)
    configure_logging(logging.INFO)
    Supervisor(Path(sys.argv[1])).run()
