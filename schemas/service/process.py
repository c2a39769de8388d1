"""The frame of every Touchline process: log, signals, waits at start, metrics and probes."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Timer
from typing import TypeVar

from schemas.errors import ConfigError
from schemas.service.exit_codes import DONE, FORCED
from schemas.service.health import Probe, always_ok, serve_probes
from schemas.service.log import configure_logging
from schemas.service.settings import ProcessSettings
from schemas.service.targets import announce, withdraw
from schemas.service.telemetry import RESTARTS
from schemas.service.waiting import wait_for

STOP_SECONDS = 9.0
T = TypeVar("T")


class Process:
    """One long-running process, of a role ("work") and with a name of its own ("worker-2").

    1. `Process(...)` configures the log and the signals: SIGTERM and SIGINT set `stop`, and end a process that waits.
    2. `serve` answers /metrics, /live and /ready; until `use_probes`, the process is live and not ready.
    3. `wait_for` waits for Kafka and ClickHouse.
    4. `use_probes` passes on to the probes of the work itself.
    """

    def __init__(self, role: str, name: str, *, level: int = logging.INFO, quiet: Sequence[str] = ()) -> None:
        self.role, self.name = role, name
        self.stop = Event()
        self._is_waiting = False
        self._live: Probe = always_ok
        self._ready: Probe = lambda: "starting"
        self._settings = ProcessSettings()
        self._log = logging.getLogger(f"touchline.{role}")
        configure_logging(level, quiet)
        self._log.setLevel(logging.INFO)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)

    def serve(self, *, is_bounded: bool = False) -> None:
        """Serve metrics and probes on loopback, at `TOUCHLINE_METRICS_PORT` or any free port, and log the address.

        A process that `is_bounded` ends by itself, so its absence raises no alert.

        The server has a thread of its own, so that a blocked event loop stays visible. Raises ConfigError where the port is in
        use or the target file cannot be written.
        """
        settings = self._settings
        RESTARTS.inc(settings.restarts)
        try:
            port = serve_probes(settings.metrics_port, self.check_live, self.check_ready)
        except OSError as error:
            raise ConfigError(
                f"TOUCHLINE_METRICS_PORT is wrong: cannot listen on 127.0.0.1:{settings.metrics_port} ({error.strerror})"
            ) from error
        if settings.targets:
            folder = Path(settings.targets)
            announce(folder, self.role, self.name, port, is_supervised=settings.is_supervised, is_bounded=is_bounded)
        self._log.info("%s: metrics on http://127.0.0.1:%d/metrics", self.name, port)

    def check_live(self) -> str:
        """Return why this process must be restarted, or an empty text; any thread may call it, like `check_ready`."""
        return self._live()

    def check_ready(self) -> str:
        """Return why this process does not work yet, or an empty text."""
        return self._ready()

    def use_probes(self, live: Probe, ready: Probe) -> None:
        """Answer /live and /ready by these probes from now on."""
        self._live, self._ready = live, ready

    def wait_for(self, service: str, attempt: Callable[[], T], *, is_bounded: bool = False) -> T:
        """Wait as `waiting.wait_for` does and log each line; `is_bounded` ends the wait after `TOUCHLINE_WAIT_SECONDS`."""
        self._ready = lambda: f"waiting for {service}"
        self._is_waiting = True
        self._exit_if_stopped()
        try:
            return wait_for(service, attempt, self._log.warning, self._settings.wait_seconds if is_bounded else None)
        finally:
            self._is_waiting = False

    def release_signals(self) -> None:
        """Restore the default handlers, for an engine that installs its own. Ends the process where it was stopped before."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._exit_if_stopped()

    def _request_stop(self, *_: object) -> None:
        start_last_resort()
        self.stop.set()
        if self._is_waiting:
            self._exit_if_stopped()

    def _exit_if_stopped(self) -> None:
        if self.stop.is_set():
            raise SystemExit(DONE)


def start_last_resort(seconds: float = STOP_SECONDS) -> None:
    """End the process with code 75 after `seconds`: a client that never closes must not keep it."""
    timer = Timer(seconds, _force_end)
    timer.daemon = True
    timer.start()


def _force_end() -> None:
    withdraw()
    os._exit(FORCED)
