"""Keeps one `touchline` command running: `python -m deploy.supervise touchline work ...`, which is what the command becomes.

The command runs as the only child. When it ends unexpectedly (a crash, a signal, Kafka not there) it is started again,
after a pause that doubles while it keeps ending soon and falls back once it has been healthy. It is left alone when it ended
well (0), when its settings are wrong (2), and when somebody asked for the end: SIGTERM and SIGINT are handed on, and
what has not ended by then is killed, so that both are gone within ten seconds. A supervisor that is killed takes its child with
it: at once on Linux, by the kernel; elsewhere the child goes on alone.

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

RESTARTS = "TOUCHLINE_RESTARTS"
DONE, MISCONFIGURED, BROKEN_OFF = 0, 2, 75
FIRST_PAUSE, LONGEST_PAUSE, HEALTHY = 1.0, 60.0, 120.0
GRACE = 9.7
LOOK_EVERY = 0.1
PR_SET_PDEATHSIG = 1


def supervised() -> NoReturn:
    """Become the supervisor of this very command line; it runs it with `--no-restart`. The process id stays the same."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, *sys.argv, "--no-restart"])  # noqa: S606 - our own program


def pause(failures: int, chance: float) -> float:
    """Seconds before the next start after `failures` short runs in a row; `chance` (0 to 1) spreads them over half of it."""
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
    return longest * (0.5 + 0.5 * chance)


class Supervisor:
    """One command over all its incarnations. `restarts` counts all starts but the first."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.restarts = self.failures = 0
        self._stopping = False
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the command until it is done; returns the exit code to end with."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGALRM, self._break_off)
        while True:
            began = time.monotonic()
            code = self._once()
            if self._stopping:
                return DONE if code in (-signal.SIGTERM, -signal.SIGINT) else BROKEN_OFF if code < 0 else code
            if code in (DONE, MISCONFIGURED):
                return code
            self.failures = 0 if time.monotonic() - began > HEALTHY else self.failures
            self._rest(code)
            if self._stopping:
                return DONE
            self.failures += 1
            self.restarts += 1

    def _once(self) -> int:
        self._child = subprocess.Popen(  # noqa: S603 - the command line we were started with
            self.command,
            env={**os.environ, RESTARTS: str(self.restarts)},
            preexec_fn=partial(_end_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
        if self._stopping:  # asked while it was being started
            self._hand_on()
        return self._child.wait()

    def _rest(self, code: int) -> None:
        seconds = pause(self.failures, random.random())  # noqa: S311 - jitter, no secret
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        what = f"touchline {self.command[1]} ended with {how}, restart {self.restarts + 1} in {seconds:.1f} s"
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} WARNING supervisor: {what}\n")
        due = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < due:
            time.sleep(LOOK_EVERY)

    def _leave(self, *_: object) -> None:
        if not self._stopping:
            self._stopping = True
            self._hand_on()

    def _hand_on(self) -> None:
        """Tell the child to end, and give it a while; a terminal may have told it, too."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _break_off(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()


def _end_with(supervisor: int) -> None:
    """In the child: the kernel kills it when its supervisor dies; where that has happened meanwhile, it ends here."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(BROKEN_OFF)


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
