"""One run of a tap: a process in a session of its own, whose output is read line by line and whose whole group ends with it."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from schemas.errors import ConfigError, RetryableError

CHUNK = 65_536
MOST_LINE = 8 * 1024 * 1024
QUIET_SECONDS = 5.0
GRACE_SECONDS = 3.0
OURS = "TOUCHLINE_"


class Line(NamedTuple):
    """One line without its ending; `size` exceeds `len(raw)` where it was too long to keep."""

    raw: bytes
    size: int


class Process:
    """A program at work. Leaving the `with` block ends it and whatever it has started, also where it hangs.

    `name` stands for it in the texts of errors, `says` for where to look. It inherits the environment but for Touchline's own
    variables, which hold the secrets of others.
    """

    def __init__(self, name: str, command: Sequence[str], root: Path, log: Path | None, timeout: float) -> None:
        self.name, self.says = name, str(log or "what it wrote to stderr")
        self._command, self._root, self._log, self._timeout = command, root, log, timeout
        self._open = ExitStack()
        self._broken = False

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._errors = opened.enter_context(_appended(self._log)) if self._log else None
            self._process = self._started()
            opened.callback(self._end)
            self._output = self._process.stdout.fileno() if self._process.stdout else -1
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def chunks(self) -> Iterator[bytes]:
        """What it writes, as it comes; an empty chunk whenever nothing came for five seconds. Raises RetryableError."""
        poll, silent = select.poll(), 0.0
        poll.register(self._output, select.POLLIN)
        wait = min(QUIET_SECONDS, self._timeout)
        while True:
            if not poll.poll(wait * 1_000):
                silent += wait
                if silent >= self._timeout:
                    raise RetryableError(f"{self.name} has written nothing for {silent:.0f} s, longer than timeout_seconds")
                yield b""
                continue
            silent = 0.0
            chunk = os.read(self._output, CHUNK)
            if not chunk:
                return
            yield chunk

    def lines(self) -> Iterator[Line | None]:
        """Its lines, None for each silence; a line beyond 8 MiB is cut."""
        rest, cut = b"", 0
        for chunk in self.chunks():
            if not chunk:
                yield None
            *whole, rest = (rest + chunk).split(b"\n")
            for raw in whole:
                yield Line(raw[:MOST_LINE], len(raw) + cut)
                cut = 0
            if len(rest) > MOST_LINE:
                cut += len(rest) - MOST_LINE
                rest = rest[:MOST_LINE]
        self._broken = bool(rest)

    def note(self, line: bytes) -> None:
        """Add a line to where its stderr goes."""
        os.write(self._errors.fileno() if self._errors else 2, line + b"\n")

    def finished(self) -> None:
        """Wait for its end after its last line. Raises RetryableError where that was no good one."""
        try:
            code = self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            raise RetryableError(f"{self.name} has closed its output and does not end") from None
        if code:
            raise RetryableError(f"{self.name} ended with exit code {code}: {self.says} says why")
        if self._broken:
            raise RetryableError(f"{self.name} ended in the middle of a line")

    def _started(self) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603 - the command is the settings' own
                self._command,
                cwd=self._root,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"command: cannot run {self._command[0]} in {self._root.absolute()}: {error.strerror}: "
                "install the tap in an environment of its own and give the path of its program"
            ) from None

    def _end(self) -> None:
        if self._process.stdout:
            self._process.stdout.close()
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _appended(path: Path) -> FileIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"log: cannot write {path}: {error.strerror}") from None


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if not name.startswith(OURS)}
