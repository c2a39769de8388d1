"""Fixtures of the live tests: a running worker and running sinks, and the table of measured lags at the end."""

import math
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from rich.console import Console
from rich.table import Table

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually
from tests.harness.workers import get_page, running_worker
from tests.live.line import LAGS, Line


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    """The broker to which the connectors publish."""
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture(scope="session")
def line(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole pipeline except for the connectors."""
    folder = tmp_path_factory.mktemp("line")
    with ExitStack() as running:
        running.enter_context(running_worker("live", folder / "work"))
        with (folder / "sink").open("ab") as log:
            sink = subprocess.Popen([TOUCHLINE, "sink", "--no-restart"], stdout=log, stderr=log)
        running.callback(sink.wait)
        running.callback(sink.kill)
        eventually(lambda: get_page(folder / "work", "ready")[0] == 200, 60)
        yield Line(folder)


def pytest_terminal_summary() -> None:
    """Print the measured lags, one row per change."""
    if not LAGS:
        return
    table = Table("connector", "change at the source", "touchpoint in the view", "score moved", title="lag, seconds")
    for each in LAGS:
        score = "none" if math.isnan(each.score) else f"{each.score:.1f}"
        table.add_row(each.connector, each.change, f"{each.touchpoint:.1f}", score)
    Console().print(table)
