"""The Kafka and ClickHouse that a command uses: named in its first line, and never guessed."""

import os
from collections.abc import Callable
from typing import TypeVar

import click

from deploy.local import state
from deploy.terminal.program import expand_commands
from schemas.errors import ConfigError
from schemas.service.settings import ProcessSettings
from schemas.service.waiting import wait_for

KAFKA = "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"
CLICKHOUSE = "TOUCHLINE_CLICKHOUSE_HOST"
CLICKHOUSE_PORT = "TOUCHLINE_CLICKHOUSE_PORT"
LOCAL_HOST = "127.0.0.1"
T = TypeVar("T")


def name_services(command: str, *, kafka: bool = False, clickhouse: bool = False) -> None:
    """Write one line to standard error: the services that `command` uses, and the setting or stack that names them.

    Raises ConfigError where neither the environment nor a local stack names one of them, and for a local stack without its
    password file.
    """
    missing = [name for name, used in ((KAFKA, kafka), (CLICKHOUSE, clickhouse)) if used and not os.environ.get(name)]
    if missing:
        state.read()  # a damaged or unreadable file is the better error
        raise ConfigError(
            f"no cluster is set: set {' and '.join(missing)}, or start a local stack with `touchline up`"
            f" ({state.home()} holds none that runs; TOUCHLINE_HOME names another folder)"
        )
    stack = state.read_running(state.home())
    services: dict[str, list[str]] = {}
    if kafka:
        address = os.environ[KAFKA]
        is_local = stack is not None and address == f"{LOCAL_HOST}:{stack.kafka_port}"
        services.setdefault(_origin(KAFKA, is_local=is_local), []).append(f"Kafka {address}")
    if clickhouse:
        host, port = os.environ[CLICKHOUSE], os.environ.get(CLICKHOUSE_PORT, "9000")
        is_local = stack is not None and (host, port) == (LOCAL_HOST, str(stack.clickhouse_port))
        if is_local and "TOUCHLINE_CLICKHOUSE_PASSWORD" not in os.environ:
            state.read_password(state.home())  # raises the better error
        services.setdefault(_origin(CLICKHOUSE, is_local=is_local), []).append(f"ClickHouse {host}:{port}")
    text = ", ".join(f"{', '.join(names)} ({origin})" for origin, names in services.items())
    click.echo(f"touchline {command}: {text}", err=True)


def _origin(variable: str, *, is_local: bool) -> str:
    return f"local stack {state.home()}" if is_local else variable


def wait_for_service(command: str, service: str, attempt: Callable[[], T]) -> T:
    """Wait for a service while a person waits: at most `TOUCHLINE_WAIT_SECONDS`, each line on standard error."""
    return wait_for(
        service,
        attempt,
        lambda line: click.echo(expand_commands(f"touchline {command}: {line}"), err=True),
        seconds=ProcessSettings().wait_seconds,
    )
