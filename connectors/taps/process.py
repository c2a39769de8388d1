"""One run of a tap: a process in its own session, whose process group ends with it."""

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

CHUNK_BYTES = 65_536
MAX_LINE_BYTES = 8 * 1024 * 1024
QUIET_SECONDS = 5.0
TERMINATE_SECONDS = 3.0
OWN_PREFIX = "TOUCHLINE_"


class Line(NamedTuple):
    """One line without its ending; `size` exceeds `len(raw)` if the line is too long to keep."""

    raw: bytes
    size: int


class Process:
    """A running program. Leaving the `with` block ends it and its child processes, even if it hangs.

    Error texts use `name` for the program and `log_name` for its log. The program inherits the environment without the
    variables of Touchline, because they contain other secrets.
    """

    def __init__(self, name: str, command: Sequence[str], root: Path, log: Path | None, timeout: float) -> None:
        self.name, self.log_name = name, str(log or "its output on stderr")
        self._command, self._root, self._log, self._timeout = command, root, log, timeout
        self._open = ExitStack()
        self._has_partial_line = False

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._errors = opened.enter_context(_open_log(self._log)) if self._log else None
            self._process = self._start()
            opened.callback(self._end)
            self._output = self._process.stdout.fileno() if self._process.stdout else -1
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def read_chunks(self) -> Iterator[bytes]:
        """Yield chunks of output, and an empty chunk after five seconds of silence. Raises RetryableError."""
        poll, silent = select.poll(), 0.0
        poll.register(self._output, select.POLLIN)
        wait = min(QUIET_SECONDS, self._timeout)
        while True:
            if not poll.poll(wait * 1_000):
                silent += wait
                if silent >= self._timeout:
                    raise RetryableError(f"{self.name} wrote nothing for {silent:.0f} s, longer than timeout_seconds")
                yield b""
                continue
            silent = 0.0
            chunk = os.read(self._output, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    def read_lines(self) -> Iterator[Line | None]:
        """Yield lines, and None for each silence; lines are truncated to 8 MiB."""
        rest, cut = b"", 0
        for chunk in self.read_chunks():
            if not chunk:
                yield None
            *whole, rest = (rest + chunk).split(b"\n")
            for raw in whole:
                yield Line(raw[:MAX_LINE_BYTES], len(raw) + cut)
                cut = 0
            if len(rest) > MAX_LINE_BYTES:
                cut += len(rest) - MAX_LINE_BYTES
                rest = rest[:MAX_LINE_BYTES]
        self._has_partial_line = bool(rest)

    def write_log(self, line: bytes) -> None:
        """Write a line to the log of the program."""
        os.write(self._errors.fileno() if self._errors else 2, line + b"\n")

    def wait(self) -> None:
        """Wait for the end of the program. Raises RetryableError unless it ended normally."""
        try:
            code = self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            raise RetryableError(f"{self.name} closed its output but does not end") from None
        if code:
            raise RetryableError(f"{self.name} ended with exit code {code}: see {self.log_name}")
        if self._has_partial_line:
            raise RetryableError(f"{self.name} ended in the middle of a line")

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603 - the command comes from the settings
                self._command,
                cwd=self._root,
                env=_filter_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"command: cannot run {self._command[0]} in {self._root.absolute()}: {error.strerror}: "
                "install the tap in a separate environment and set the path of its program"
            ) from None

    def _end(self) -> None:
        if self._process.stdout:
            self._process.stdout.close()
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(TERMINATE_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _open_log(path: Path) -> FileIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"log: cannot write {path}: {error.strerror}") from None


def _filter_environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not name.startswith(OWN_PREFIX)}
