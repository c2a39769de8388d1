"""The supervisor of a command, with real processes: which ends lead to a restart, and how both processes end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.supervise import MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS, compute_pause
from tests.harness.connectors import write_settings
from tests.harness.stack import TOUCHLINE

SUPERVISOR = """
import sys
from deploy import supervise
supervise.MIN_PAUSE_SECONDS, supervise.STOP_SECONDS, supervise.HEALTHY_SECONDS = 0.2, {stop}, {healthy}
sys.exit(supervise.Supervisor(sys.argv[1:]).run())
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path
runs = Path(sys.argv[1])
runs.open("a").write(f"{os.getpid()} {os.environ['TOUCHLINE_RESTARTS']}\\n")
def wait():
    time.sleep(30)
def stop_on_request():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wait()
def ignore_requests():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()
def end(*codes):
    code = codes[int(os.environ["TOUCHLINE_RESTARTS"])]
    os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
"""


@contextmanager
def supervised(runs: Path, script: str, stop: float = 9.7, healthy: float = 30.0) -> Iterator[subprocess.Popen[str]]:
    program = SUPERVISOR.format(stop=stop, healthy=healthy)
    command = [sys.executable, "-c", program, sys.executable, "-c", CHILD + script, str(runs)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(runs: Path) -> list[list[int]]:
    """Process id and restarts of each child so far, oldest first."""
    return [[int(word) for word in line.split()] for line in runs.read_text().splitlines()] if runs.exists() else []


def first_child(runs: Path) -> int:
    """Wait for the first child and return its process id."""
    for _ in range(200):
        if found := children(runs):
            time.sleep(0.1)
            return found[0][0]
        time.sleep(0.05)
    raise TimeoutError(runs)


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid):
            return True
        time.sleep(0.05)
    return False


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_pauses_double_up_to_a_minute_and_are_spread(failures: int, chance: float) -> None:
    assert MIN_PAUSE_SECONDS / 2 <= compute_pause(failures, chance) <= MAX_PAUSE_SECONDS
    assert compute_pause(failures + 1, chance) == min(
        2 * compute_pause(failures, chance), MAX_PAUSE_SECONDS * (0.5 + 0.5 * chance)
    )


def test_command_that_crashed_or_was_killed_restarts_until_it_is_done(tmp_path: Path) -> None:
    with supervised(tmp_path / "runs", "end(70, -9, 1, 0)") as process:
        _, output = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [restarts for _, restarts in children(tmp_path / "runs")] == [0, 1, 2, 3]
    lines = re.findall(r"WARNING supervisor: .* ended with (.*), restart (\d) in \d\.\d s\n", output)
    assert lines == [("code 70", "1"), ("SIGKILL", "2"), ("code 1", "3")]


@pytest.mark.parametrize(("healthy", "grows"), [(30.0, True), (0.0, False)])
def test_pause_grows_after_short_runs_and_not_after_healthy_ones(tmp_path: Path, healthy: float, *, grows: bool) -> None:
    with supervised(tmp_path / "runs", "end(70, 70, 70, 70, 0)", healthy=healthy) as process:
        _, output = process.communicate(timeout=30)
    pauses = [float(seconds) for seconds in re.findall(r"restart \d in (\d\.\d) s", output)]
    assert len(pauses) == 4
    assert (pauses[-1] >= 0.8) == grows
    assert (max(pauses) <= 0.2) != grows


def test_wrong_settings_cause_no_restart(tmp_path: Path) -> None:
    with supervised(tmp_path / "runs", "end(2)") as process:
        _, output = process.communicate(timeout=30)
    assert output == ""
    assert process.returncode == 2
    assert len(children(tmp_path / "runs")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_reaches_the_child(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path / "runs", "stop_on_request()") as process:
        child = first_child(tmp_path / "runs")
        process.send_signal(number)
        assert process.wait(timeout=5) == 0
    assert is_gone(child)


def test_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path / "runs", "ignore_requests()", stop=0.5) as process:
        child = first_child(tmp_path / "runs")
        process.terminate()
        assert process.wait(timeout=5) == 75
    assert is_gone(child)


def test_stop_signal_between_two_runs_ends_the_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path / "runs", "end(*[70] * 99)") as process:
        while len(children(tmp_path / "runs")) < 3:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=5) in (0, 70)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_killed_supervisor_takes_its_child_with_it(tmp_path: Path) -> None:
    with supervised(tmp_path / "runs", "ignore_requests()") as process:
        child = first_child(tmp_path / "runs")
        process.kill()
        assert is_gone(child)


def test_supervisor_is_small_and_leaves_no_zombies(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "deploy.supervise", sys.executable, "-c", CHILD + "wait()", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        first = first_child(tmp_path / "runs")
        assert psutil.Process(process.pid).memory_info().rss < 20 * 2**20
        os.kill(first, signal.SIGKILL)
        while len(children(tmp_path / "runs")) < 2:
            time.sleep(0.05)
        assert [child.pid for child in psutil.Process(process.pid).children()] == [children(tmp_path / "runs")[1][0]]
    finally:
        process.kill()
        process.wait()


SERVICES = {
    "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "TOUCHLINE_CLICKHOUSE_HOST": "127.0.0.1",
    "TOUCHLINE_CLICKHOUSE_PORT": "1",
}
SECRET = {"TOUCHLINE_IDENTITY_SECRET": "secret of this test"}
FILES = ["connect", "files", "--settings", "settings.yaml"]


@pytest.mark.parametrize(
    ("arguments", "environment", "names"),
    [
        (["sink", "orders"], {}, "orders"),
        (["connect", "files", "--settings", "none.yaml"], {}, "none.yaml"),
        (["sink"], {"TOUCHLINE_CLICKHOUSE_PORT": "http"}, "TOUCHLINE_CLICKHOUSE_PORT"),
        (["sink"], {"TOUCHLINE_METRICS_PORT": "abc"}, "TOUCHLINE_METRICS_PORT"),
        (["sink"], {"TOUCHLINE_TARGETS": "settings.yaml"}, "TOUCHLINE_TARGETS"),
        (["work"], {"TOUCHLINE_METRICS_PORT": "99999"}, "TOUCHLINE_METRICS_PORT"),
        (["work"], {}, "TOUCHLINE_IDENTITY_SECRET"),
        (["work"], {**SECRET, "TOUCHLINE_STREAMS_TICK_SECONDS": "often"}, "TOUCHLINE_STREAMS_TICK_SECONDS"),
        (["work"], {"TOUCHLINE_KAFKA_SECURITY_PROTOCOL": "TLS"}, "TOUCHLINE_KAFKA_SECURITY_PROTOCOL"),
        (["work"], {"TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "broker:https"}, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"),
        (["sink"], {"TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "broker:"}, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"),
        (["work"], {"TOUCHLINE_HOME": "settings.yaml"}, "TOUCHLINE_HOME"),
        (FILES, {"TOUCHLINE_WAIT_SECONDS": "a while"}, "TOUCHLINE_WAIT_SECONDS"),
        (["work", "--no-restart"], {"TOUCHLINE_RESTARTS": "-1"}, "TOUCHLINE_RESTARTS"),
    ],
)
def test_wrong_setting_or_folder_ends_a_command_with_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], names: str
) -> None:
    write_settings(tmp_path, "shop")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
    done = subprocess.run(
        [TOUCHLINE, *arguments],
        env=clean | SERVICES | environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING supervisor" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("touchline: ")]
    assert len(lines) == 1
    assert names in lines[0]
