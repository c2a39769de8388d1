"""Keeps the services of one home folder running: `python -m deploy.local.supervisor HOME`, started by `touchline up`.

A service that ends is started again, with its data, after a pause that doubles while it keeps ending. SIGTERM, or the
loss of the state file, stops the services and then the supervisor. Only its own children are ever signalled.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from deploy.local import ports, state
from deploy.local.contract import SERVICES
from deploy.local.state import Stack, Supervised
from schemas.errors import ConfigError

FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 60.0
GRACE = 15.0
PR_SET_PDEATHSIG = 1

log = logging.getLogger("touchline.supervisor")


def pause(failures: int) -> float:
    """Seconds before the next start, after so many ends in a row."""
    return min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)


class Child:
    """One service's process, over all its incarnations."""

    def __init__(self, name: str, command: list[str], output: Path) -> None:
        self.name, self.command, self.output = name, command, output
        self.failures = self.restarts = 0
        self.due = 0.0
        self.start()

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 no shell, fixed program
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 the supervisor has one thread
            )
        self.began = time.monotonic()
        self.seen = Supervised(
            name=self.name,
            pid=self.process.pid,
            started=psutil.Process(self.process.pid).create_time(),
            restarts=self.restarts,
        )
        log.info("%s started, pid %d", self.name, self.process.pid)

    def tend(self) -> bool:
        """Notice an end, or start again when the pause is over; True when there is something new to write down."""
        if self.due:
            if time.monotonic() < self.due:
                return False
            self.due = 0.0
            self.restarts += 1
            self.start()
            return True
        code = self.process.poll()
        if code is None:
            return False
        self.failures = 0 if time.monotonic() - self.began > SETTLED else self.failures
        self.due = time.monotonic() + pause(self.failures)
        log.warning("%s ended with code %d, next start in %.1f s", self.name, code, pause(self.failures))
        self.failures += 1
        self.seen = Supervised(name=self.name, restarts=self.restarts)
        return True


class Supervisor:
    """The loop over all children of one home folder."""

    def __init__(self, home: Path) -> None:
        chosen = ports.read(home / "ports.json")
        if chosen is None:
            raise ConfigError(f"{home / 'ports.json'} is missing or damaged: `touchline up` writes it, then starts this program")
        self.home = home
        self.stopping = False
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for service in SERVICES:
                output = self.home / "log" / f"{service.NAME}.log"
                self.children.append(Child(service.NAME, service.command(self.home), output))
            self._write()
            while not self.stopping and state.state_file(self.home).exists():
                news = [child.tend() for child in self.children]
                if any(news):
                    self._write()
                time.sleep(0.1)
        finally:
            stop([child.process for child in self.children])
            state.state_file(self.home).unlink(missing_ok=True)
            log.info("stopped")

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _write(self) -> None:
        state.write(self.home, self.stack.model_copy(update={"services": tuple(child.seen for child in self.children)}))


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End them all at once: asked first, killed after a grace."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """On Linux the kernel ends a child whose supervisor was killed; elsewhere `up` and `down` find and end it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Supervisor(Path(sys.argv[1])).run()
