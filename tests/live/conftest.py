"""The line behind the connectors, and how long a change at a source takes to come through it."""

import math
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from tests.harness.sink_faults import eventually
from tests.harness.sinks import ask
from tests.harness.stack import TOUCHLINE
from tests.harness.workers import page, worker

LAGS: "list[Lag]" = []
AT_REST_SECONDS = 2.0


class Lag(NamedTuple):
    """Seconds from a change at a source to its touchpoint in the view, and to the score that it moved (nan: it moves none)."""

    connector: str
    change: str
    touchpoint: float
    score: float


class Line:
    """Worker and sinks at work; `connect` runs a connector beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def connect(self, connector: str, settings: Path, **environment: str) -> Iterator[None]:
        """`touchline connect` as a process of its own, live; at the end it is asked to stop, and does so well."""
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

    def lag(self, connector: str, system: str, change: str, act: Callable[[], object], *, scored: bool = True) -> Lag:
        """Let `act` change something at the source that moves somebody's satisfaction or churn, and wait for both.

        `scored` is false for a change that no signal reads: only the touchpoint is waited for. `system` is
        that of the touchpoint; `change` says in a few words what was done.
        """
        touchpoints = f"SELECT event_id FROM touchline.touchpoints WHERE system = '{system}'"
        readings = "SELECT event_id FROM touchline.satisfaction UNION ALL SELECT event_id FROM touchline.churn"
        scores = f"SELECT event_id FROM ({readings}) WHERE event_id IN ({touchpoints})"
        before = _at_rest(touchpoints), _at_rest(scores)
        began = time.monotonic()
        act()
        eventually(lambda: _count(touchpoints) > before[0], 60)
        seen = time.monotonic() - began
        if scored:
            eventually(lambda: _count(scores) > before[1], 60)
        found = Lag(connector, change, seen, time.monotonic() - began if scored else math.nan)
        LAGS.append(found)
        return found


def _at_rest(sql: str) -> int:
    """The count, once it has not changed for two seconds: what was done before is not what is measured."""
    last, since = _count(sql), time.monotonic()
    while time.monotonic() - since < AT_REST_SECONDS:
        time.sleep(0.2)
        if (now := _count(sql)) != last:
            last, since = now, time.monotonic()
    return last


def _count(sql: str) -> int:
    (row,) = ask(f"SELECT count() AS n FROM ({sql})")
    return int(row["n"])


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    """Where the connectors publish."""
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture(scope="session")
def line(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole line, but for the connectors."""
    folder = tmp_path_factory.mktemp("line")
    with ExitStack() as running:
        running.enter_context(worker("live", folder / "work"))
        with (folder / "sink").open("ab") as log:
            sink = subprocess.Popen([TOUCHLINE, "sink", "--no-restart"], stdout=log, stderr=log)
        running.callback(sink.wait)
        running.callback(sink.kill)
        eventually(lambda: page(folder / "work", "ready")[0] == 200, 60)
        yield Line(folder)


def pytest_terminal_summary() -> None:
    """What was measured, one line a change."""
    if not LAGS:
        return
    table = Table("connector", "change at the source", "touchpoint in the view", "score moved", title="lag, seconds")
    for each in LAGS:
        score = "none" if math.isnan(each.score) else f"{each.score:.1f}"
        table.add_row(each.connector, each.change, f"{each.touchpoint:.1f}", score)
    Console().print(table)
