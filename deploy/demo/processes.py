"""The demo's own processes: connectors, worker and sink, each a `touchline` command.

A process that dies is restarted and continues from its committed offsets or cursor. A process that ends with a configuration
error, or dies six times in a row within seconds of its start, ends the demo. All processes end with the block that started them.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.terminal.program import PATH as TOUCHLINE
from schemas.errors import ConfigError, FatalError

MAX_FAILURES = 6
HEALTHY_SECONDS = 10.0
STOP_SECONDS = 20.0
MAX_LINES = 4
MAX_LINE = 200


def run_touchline(*arguments: str) -> None:
    """Run one command to its end. Raises FatalError with its last output when it fails."""
    result = subprocess.run(  # noqa: S603 no shell, fixed program
        [TOUCHLINE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise FatalError(f"`touchline {' '.join(arguments)}` failed: {_indent((result.stderr or result.stdout).splitlines())}")


class Child:
    """One command with its log. A `once` command is done when it ends with code 0; the others run until they are stopped."""

    def __init__(self, name: str, arguments: list[str], log: Path, *, once: bool = False) -> None:
        self.name, self.once, self.log = name, once, log
        self.starts = self.failures = 0
        self._command = [str(TOUCHLINE), *arguments]
        self.start()

    def start(self) -> None:
        """Start the command, the first time with an empty log. Its own session keeps Ctrl-C away from it."""
        with self.log.open("ab" if self.starts else "wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 no shell, fixed program
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1
        self._began = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Return whether this is a `once` command that ended with code 0."""
        return self.once and self.process.poll() == 0

    def restart_if_dead(self) -> None:
        """Restart the command after its death. Raises ConfigError or FatalError when a restart cannot help."""
        code = self.process.poll()
        if code is None or self.is_done:
            return
        if code == ConfigError.exit_code:
            raise ConfigError(f"{self.name} cannot run: {self._last_output()}")
        self.failures = 1 if time.monotonic() - self._began >= HEALTHY_SECONDS else self.failures + 1
        if self.failures == MAX_FAILURES:
            raise FatalError(f"{self.name} ended {self.failures} times in a row, last with {code}: {self._last_output()}")
        self.start()

    def _last_output(self) -> str:
        return f"{_indent(self.log.read_text(errors='replace').splitlines())}\nThe whole log is {self.log}"


class Processes:
    """All processes of one demo run."""

    def __init__(self, logs: Path) -> None:
        self.children: dict[str, Child] = {}
        self._logs = logs

    def start(self, name: str, arguments: list[str], *, once: bool = False) -> Child:
        """Start `touchline ARGUMENTS` under this name; its output goes to `<logs>/demo-<name>.log`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        child = self.children[name] = Child(name, arguments, self._logs / f"demo-{name}.log", once=once)
        return child

    def restart_dead(self) -> None:
        """Restart each process that died."""
        for child in self.children.values():
            child.restart_if_dead()

    @property
    def are_sources_done(self) -> bool:
        """Return whether every `once` command ended with code 0."""
        return all(child.is_done for child in self.children.values() if child.once)

    def stop(self) -> None:
        """Terminate all processes at once, and kill those that still run after 20 seconds."""
        running = [child.process for child in self.children.values() if child.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _indent(lines: list[str]) -> str:
    return "".join(f"\n  {line[:MAX_LINE]}" for line in lines[-MAX_LINES:])


@contextmanager
def run_processes(logs: Path) -> Iterator[Processes]:
    """Yield an empty set of processes, and stop all of them at the end of the block, also after an error."""
    started = Processes(logs)
    try:
        yield started
    finally:
        started.stop()
