"""The services that a command uses: named in its first line, and never guessed."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from deploy.local import state
from deploy.local.state import Stack
from deploy.services import name_services
from schemas.errors import ConfigError
from tests.harness.stack import TOUCHLINE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TOUCHLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", {**os.environ, "TOUCHLINE_HOME": str(tmp_path)})
    return tmp_path


def start_stack(home: Path) -> None:
    """Write the state and password files of a stack whose supervisor is this process."""
    state.password_file(home).parent.mkdir(exist_ok=True)
    state.password_file(home).write_text("password")
    here = psutil.Process()
    state.write(
        home,
        Stack(
            supervisor_pid=here.pid,
            supervisor_started=here.create_time(),
            kafka_port=19092,
            kafka_controller_port=19093,
            clickhouse_port=19000,
            clickhouse_http_port=18123,
        ),
    )


def test_local_stack_without_its_password_file_is_an_error(home: Path) -> None:
    start_stack(home)
    state.password_file(home).unlink()
    state.export_addresses()
    name_services("work", kafka=True)
    with pytest.raises(ConfigError, match=r"cannot read .*password .*: run `touchline down`, then `touchline up`"):
        name_services("sink", clickhouse=True)
    os.environ["TOUCHLINE_CLICKHOUSE_PASSWORD"] = "known"
    name_services("sink", clickhouse=True)


def test_command_names_the_local_stack(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_stack(home)
    state.export_addresses()
    name_services("sink", kafka=True, clickhouse=True)
    output = capsys.readouterr()
    assert output.err == f"touchline sink: Kafka 127.0.0.1:19092, ClickHouse 127.0.0.1:19000 (local stack {home})\n"
    assert output.out == ""


def test_command_names_the_settings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_stack(home)
    os.environ["TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"] = "broker-1:9092,broker-2:9092"
    os.environ["TOUCHLINE_CLICKHOUSE_HOST"] = "warehouse"
    state.export_addresses()
    name_services("sink", kafka=True, clickhouse=True)
    assert capsys.readouterr().err == (
        "touchline sink: Kafka broker-1:9092,broker-2:9092 (TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS),"
        " ClickHouse warehouse:9000 (TOUCHLINE_CLICKHOUSE_HOST)\n"
    )


def test_port_of_the_local_stack_is_not_joined_to_another_host(home: Path) -> None:
    start_stack(home)
    os.environ["TOUCHLINE_CLICKHOUSE_HOST"] = "warehouse"
    state.export_addresses()
    assert "TOUCHLINE_CLICKHOUSE_PORT" not in os.environ
    assert "TOUCHLINE_CLICKHOUSE_HTTP_PORT" not in os.environ


@pytest.mark.parametrize(
    ("services", "missing"),
    [
        ({"kafka": True}, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"),
        ({"clickhouse": True}, "TOUCHLINE_CLICKHOUSE_HOST"),
        ({"kafka": True, "clickhouse": True}, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS and TOUCHLINE_CLICKHOUSE_HOST"),
    ],
)
def test_no_setting_and_no_stack_is_an_error_that_names_both(home: Path, services: dict[str, bool], missing: str) -> None:
    with pytest.raises(ConfigError, match=f"set {missing}, or start a local stack with `touchline up`"):
        name_services("work", **services)


def test_damaged_state_file_is_the_error_where_an_address_is_missing(home: Path) -> None:
    (home / "stack.json").write_text("{")
    state.export_addresses()
    with pytest.raises(ConfigError, match=r"stack\.json is damaged"):
        name_services("work", kafka=True)
    os.environ["TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"] = "broker:9092"
    name_services("work", kafka=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["work"],
        ["sink"],
        ["migrate"],
        ["migrate", "--dry-run", "--sql"],
        ["tick"],
        ["explain", "email:ann@example.com"],
        ["identity", "show", "email:ann@example.com"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "6f1d1a52"],
        ["dead-letters", "replay"],
    ],
    ids=" ".join,
)
def test_command_outside_of_any_stack_says_which_setting_is_missing(home: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [TOUCHLINE, *arguments], capture_output=True, text=True, timeout=60, cwd=home, env=dict(os.environ), check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("touchline: no cluster is set: set TOUCHLINE_")
    assert done.stderr.count("\n") == 1
    assert list(home.iterdir()) == []


def test_worker_without_secret_ends_with_the_setting_to_change(home: Path) -> None:
    cluster = {"TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "broker.invalid:9092"}
    done = subprocess.run(
        [TOUCHLINE, "work"], capture_output=True, text=True, timeout=60, cwd=home, env={**os.environ, **cluster}, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "set TOUCHLINE_IDENTITY_SECRET or TOUCHLINE_IDENTITY_SECRET_FILE" in done.stderr.splitlines()[-1]
