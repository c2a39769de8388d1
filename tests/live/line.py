"""Worker and sinks behind a connector; the lag of a change at a source until its touchpoint and its score are visible."""

import math
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.harness.sinks import ask
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually

LAGS: "list[Lag]" = []
QUIET_SECONDS = 2.0
MAX_LAG_SECONDS = 60


class Lag(NamedTuple):
    """Seconds from a change at a source until its touchpoint is in the view, and until the score moved (nan: no score moves)."""

    connector: str
    change: str
    touchpoint: float
    score: float


class Line:
    """A running worker and running sinks; `connect` adds a connector."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def connect(self, connector: str, settings: Path, **environment: str) -> Iterator[None]:
        """Run a live `touchline connect` as its own process; at the end send SIGTERM and expect exit code 0."""
        with (self._folder / f"{connector}.log").open("ab") as log:
            command = ["env", *(f"{name}={value}" for name, value in environment.items())]
            command += [str(TOUCHLINE), "connect", connector, "--settings", str(settings)]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
            process.terminate()
            assert process.wait(20) == 0, (self._folder / f"{connector}.log").read_text()
        finally:
            process.kill()
            process.wait()

    def measure_lag(self, connector: str, system: str, change: str, act: Callable[[], object], *, scored: bool = True) -> Lag:
        """Return how long the change that `act` makes at the source takes until the touchpoint and the score are visible.

        `system` is that of the touchpoint; `change` describes the change in a few words. `scored` is false for a change that no
        signal reads: the measurement then ends with the touchpoint.
        """
        touchpoints = f"SELECT event_id FROM touchline.touchpoints WHERE system = '{system}'"
        readings = "SELECT event_id FROM touchline.satisfaction UNION ALL SELECT event_id FROM touchline.churn"
        scores = f"SELECT event_id FROM ({readings}) WHERE event_id IN ({touchpoints})"
        before = _settled_count(touchpoints), _settled_count(scores)
        began = time.monotonic()
        act()
        eventually(lambda: _count(touchpoints) > before[0], MAX_LAG_SECONDS)
        shown = time.monotonic() - began
        if scored:
            eventually(lambda: _count(scores) > before[1], MAX_LAG_SECONDS)
        lag = Lag(connector, change, shown, time.monotonic() - began if scored else math.nan)
        LAGS.append(lag)
        return lag


def _settled_count(sql: str) -> int:
    """Return the count once it is constant for two seconds, so that earlier changes do not disturb the measurement."""
    last, since = _count(sql), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.2)
        if (now := _count(sql)) != last:
            last, since = now, time.monotonic()
    return last


def _count(sql: str) -> int:
    (row,) = ask(f"SELECT count() AS n FROM ({sql})")
    return int(row["n"])
