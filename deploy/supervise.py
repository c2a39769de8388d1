"""Supervisor of one `touchline` command: `python -m deploy.supervise touchline work ...` replaces the command's own process.

The command runs as the only child. After an unexpected end (a crash, a signal) the supervisor restarts it. The pause before a
restart doubles with each short run, and is short again after a run of `HEALTHY_SECONDS`. There is no restart after a normal
end (0) or wrong settings (2), nor after SIGTERM or SIGINT: the supervisor passes the signal on and kills a child that is left
after `STOP_SECONDS`, so that both end within ten seconds. A supervisor that is killed takes its child with it on Linux, where
the kernel does that; elsewhere the child continues alone.

It imports next to nothing (12 MB resident), and holds no connection and no state.
"""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from typing import NoReturn

from schemas.service.exit_codes import DONE, FORCED, MISCONFIGURED

RESTARTS = "TOUCHLINE_RESTARTS"
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
HEALTHY_SECONDS = 30.0
STOP_SECONDS = 9.7
CHECK_SECONDS = 0.1
PR_SET_PDEATHSIG = 1


def run_supervised() -> NoReturn:
    """Replace this process by the supervisor of its own command line, run with `--no-restart`. The process id stays."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, *sys.argv, "--no-restart"])  # noqa: S606 - our own program


def compute_pause(failures: int, chance: float) -> float:
    """Return the seconds before the next start after `failures` short runs; `chance` (0 to 1) spreads them over half of it."""
    longest = min(MIN_PAUSE_SECONDS * 2.0 ** min(failures, 10), MAX_PAUSE_SECONDS)
    return longest * (0.5 + 0.5 * chance)


class Supervisor:
    """One command over all its runs. `restarts` counts all starts but the first, `failures` the short runs in a row."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.restarts = self.failures = 0
        self._is_stopping = False
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the command until it is done, and return the exit code to end with."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGALRM, self._kill_child)
        while True:
            began = time.monotonic()
            code = self._run_once()
            if self._is_stopping:
                return DONE if code in (-signal.SIGTERM, -signal.SIGINT) else FORCED if code < 0 else code
            if code in (DONE, MISCONFIGURED):
                return code
            self.failures = 0 if time.monotonic() - began >= HEALTHY_SECONDS else self.failures
            self._wait(code)
            if self._is_stopping:
                return DONE
            self.failures += 1
            self.restarts += 1

    def _run_once(self) -> int:
        self._child = subprocess.Popen(  # noqa: S603 - the command line we were started with
            self.command,
            env={**os.environ, RESTARTS: str(self.restarts)},
            preexec_fn=partial(_end_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
        if self._is_stopping:  # the signal came while the child was starting
            self._stop_child()
        return self._child.wait()

    def _wait(self, code: int) -> None:
        """Report the end of the child, and wait for the pause or until a signal."""
        seconds = compute_pause(self.failures, random.random())  # noqa: S311 - jitter, no secret
        end = f"code {code}" if code >= 0 else signal.Signals(-code).name
        text = f"touchline {self.command[1]} ended with {end}, restart {self.restarts + 1} in {seconds:.1f} s"
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} WARNING supervisor: {text}\n")
        due = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < due:
            time.sleep(CHECK_SECONDS)

    def _request_stop(self, *_: object) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._stop_child()

    def _stop_child(self) -> None:
        """Send SIGTERM to the child and set the alarm that kills it; a terminal may have sent it SIGINT, too."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)

    def _kill_child(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()


def _end_with(supervisor: int) -> None:
    """In the child: let the kernel kill it when its supervisor dies, and end at once where that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(FORCED)


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
