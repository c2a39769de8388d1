"""One real stack for all integration tests of a run: Kafka and ClickHouse in a folder of their own, taken down at the end."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deploy.local.ports import FREE, Ports
from deploy.local.stack import down, up
from deploy.local.state import Stack, export_addresses
from deploy.topics import ensure_topics
from schemas.service.connection import KafkaSettings

TOUCHLINE = Path(sys.executable).with_name("touchline")
TOOLS = Path(__file__).parents[1] / ".touchline" / "tools"


# How long a single example takes says nothing on a machine that does other things as well.
settings.register_profile("touchline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("touchline")


def pytest_configure(config: pytest.Config) -> None:
    """A broker that serves one module is up in half the processor time when Java does not optimise for a long life.

    kafka-python 3.0.12 reads its protocol files by functions that Python 3.11 calls deprecated.
    """
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    config.addinivalue_line("filterwarnings", "ignore:(open|read)_text is deprecated:DeprecationWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests (`make test`), one process takes all of a module that has a stack of its own."""
    for item in items:
        if "own_stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take down what is left of a process that was interrupted: xdist gives it a few seconds and then kills it."""
    if not hasattr(session.config, "workerinput"):
        folders: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        for left in folders.getbasetemp().rglob("stack.json"):
            down(left.parent)


@contextmanager
def running_stack(home: Path) -> Iterator[Stack]:
    """A stack in `home` that this process and those it starts are pointed at, until the block ends.

    Never on the standard ports: another stack could take one of them over while a killed service is away. SIGTERM ends the
    block like Ctrl-C.
    """
    ended = signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("TOUCHLINE_KAFKA_", "TOUCHLINE_CLICKHOUSE_"))]:
        del os.environ[name]
    os.environ["TOUCHLINE_HOME"] = str(home)
    os.environ["TOUCHLINE_TARGETS"] = str(home / "targets")
    os.environ["TOUCHLINE_STREAMS_TICK_SECONDS"] = "0"  # tests count what comes out, and tick themselves
    os.environ.setdefault("TOUCHLINE_TOOLS", str(TOOLS))
    home.mkdir(exist_ok=True)
    ports = dict(zip(Ports.model_fields, random.sample(FREE, len(Ports.model_fields)), strict=True))
    (home / "ports.json").write_text(Ports(**ports).model_dump_json())
    try:
        running = up(home)
        export_addresses()
        yield running
    finally:
        down(home)
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGTERM, ended)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack most tests share; its topics and tables are not made yet."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for one module alone, for tests that count everything in it or kill parts of it."""
    with running_stack(tmp_path_factory.mktemp("own-stack")) as running:
        yield running


@pytest.fixture(scope="module")
def own_topics(own_stack: Stack) -> Stack:
    """The module's own stack with the topics, but without tables."""
    ensure_topics(KafkaSettings(), dry_run=False)
    return own_stack


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> Stack:
    """The same stack with topics, tables and views, as `touchline migrate` makes them."""
    subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True, timeout=60)
    return stack
