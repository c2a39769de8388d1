"""Fixtures with a real Kafka and ClickHouse in a folder of their own, stopped at the end of the run."""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from deploy.local.stack import down
from deploy.local.state import Stack
from deploy.topics import ensure_topics
from schemas.service.connection import KafkaSettings
from tests.harness.stack import TOUCHLINE, running_stack

# How long a single example takes says nothing on a machine that does other things as well.
settings.register_profile("touchline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("touchline")
OUR_PACKAGES = ("connectors", "deploy", "schemas", "sinks", "streams")


def pytest_configure(config: pytest.Config) -> None:
    """Let Java start Kafka with its first compiler only: that takes half the processor time.

    kafka-python 3.0.12 reads its protocol files by functions that Python 3.11 calls deprecated. A shell starts its background
    jobs with SIGINT ignored, which every process of a test would inherit.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    config.addinivalue_line("filterwarnings", "ignore:(open|read)_text is deprecated:DeprecationWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module with a stack of its own in one process when several processes share the tests."""
    for item in items:
        if "own_stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the stacks of interrupted test processes, which xdist kills after a few seconds."""
    if not hasattr(session.config, "workerinput"):
        folders: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        for left in folders.getbasetemp().rglob("stack.json"):
            down(left.parent)


@pytest.fixture(autouse=True, scope="module")
def _log_levels_stay() -> Iterator[None]:
    """Fail a module that leaves a logger changed: the tests after it in the same process would miss records."""
    before = _log_levels()
    yield
    changed = {name: level for name, level in _log_levels().items() if level != before.get(name, (False, logging.NOTSET))}
    assert not changed, f"restore the level of these loggers: {', '.join(changed)}"


def _log_levels() -> dict[str, tuple[bool, int]]:
    """Return whether each of our loggers is disabled, and its own level. A new logger has level 0."""
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    return {each.name: (each.disabled, each.level) for each in loggers if each.name.partition(".")[0] in OUR_PACKAGES}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that most tests share, without topics and tables."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of one module, for tests that count everything in it or kill parts of it."""
    with running_stack(tmp_path_factory.mktemp("own-stack")) as running:
        yield running


@pytest.fixture(scope="module")
def own_topics(own_stack: Stack) -> Stack:
    """The stack of one module with topics, without tables."""
    ensure_topics(KafkaSettings(), dry_run=False)
    return own_stack


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> Stack:
    """The shared stack with topics, tables and views, created by `touchline migrate`."""
    subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True, timeout=60)
    return stack
