"""The demo's own processes: connectors, worker and sink, each a `touchline` command, kept running until the demo ends.

One that dies is started again, as a supervisor would do, and goes on where it stood; one that ends with a configuration
error, or dies time and again, ends the demo. None outlives the block they are started in.
"""

import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigError, FatalError

TOUCHLINE = Path(sysconfig.get_path("scripts")) / "touchline"
MOST_STARTS = 6
GRACE = 20.0
LINES_SHOWN = 4


def touchline(*arguments: str) -> None:
    """One command to its end. Raises FatalError with its last words where it fails."""
    result = subprocess.run(  # noqa: S603 no shell, fixed program
        [TOUCHLINE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise FatalError(f"`touchline {' '.join(arguments)}` failed: {_indented((result.stderr or result.stdout).splitlines())}")


class Child:
    """One command with its log. `once` commands are done when they end well; the others only when they are stopped."""

    def __init__(self, name: str, arguments: list[str], log: Path, *, once: bool = False) -> None:
        self.name, self.once, self.log = name, once, log
        self.starts = 0
        self._command = [str(TOUCHLINE), *arguments]
        self.start()

    def start(self) -> None:
        """Start it, the first time with an empty log. A session of its own keeps Ctrl-C with the demo."""
        with self.log.open("ab" if self.starts else "wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 no shell, fixed program
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    @property
    def done(self) -> bool:
        """A `once` command that ended well."""
        return self.once and self.process.poll() == 0

    def tend(self) -> None:
        """Start it again where it died. Raises ConfigError or FatalError where that would be in vain."""
        code = self.process.poll()
        if code is None or self.done:
            return
        if code == ConfigError.exit_code:
            raise ConfigError(f"{self.name} cannot run: {self._last_words()}")
        if self.starts == MOST_STARTS:
            raise FatalError(f"{self.name} ended {self.starts} times, last with {code}: {self._last_words()}")
        self.start()

    def _last_words(self) -> str:
        return f"{_indented(self.log.read_text(errors='replace').splitlines())}\nAll of it is in {self.log}"


class Processes:
    """All children of one demo run."""

    def __init__(self, logs: Path) -> None:
        self.children: dict[str, Child] = {}
        self._logs = logs

    def start(self, name: str, arguments: list[str], *, once: bool = False) -> Child:
        """Start `touchline ARGUMENTS` under this name; its output goes to `<logs>/demo-<name>.log`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        child = self.children[name] = Child(name, arguments, self._logs / f"demo-{name}.log", once=once)
        return child

    def tend(self) -> None:
        """Start again whatever died."""
        for child in self.children.values():
            child.tend()

    @property
    def sources_done(self) -> bool:
        """True when every `once` command has ended well."""
        return all(child.done for child in self.children.values() if child.once)

    def stop(self) -> None:
        """End them all at once: asked first, killed after a grace."""
        running = [child.process for child in self.children.values() if child.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _indented(lines: list[str]) -> str:
    return "".join(f"\n  {line[:200]}" for line in lines[-LINES_SHOWN:])


@contextmanager
def processes(logs: Path) -> Iterator[Processes]:
    """Processes that are all ended when the block is left, however it is left."""
    started = Processes(logs)
    try:
        yield started
    finally:
        started.stop()
