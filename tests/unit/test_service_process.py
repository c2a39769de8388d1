"""The frame of a process: settings, waits at start, probes, target files, and the end on a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigError, RetryableError
from schemas.service import waiting
from schemas.service.exit_codes import FORCED
from schemas.service.settings import ProcessSettings
from schemas.service.targets import announce, withdraw
from schemas.service.waiting import wait_for
from tests.harness.http_pages import read_page
from tests.harness.waiting import eventually

PROCESS = """
import logging, sys, threading
from schemas.errors import RetryableError
from schemas.service import process as frame, waiting
frame.STOP_SECONDS = 0.5
frame.start_last_resort.__defaults__ = (0.5,)
process = frame.Process("test", "one", level=logging.WARNING, quiet=["noisy"])
logging.getLogger("noisy").error("the same again")
process.serve()
def never():
    raise RetryableError("nobody listens")
"""


def start(script: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PROCESS + script], stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def port_of(line: str) -> int:
    return int(line.rpartition(":")[2].partition("/")[0])


def ask(port: int, page: str) -> tuple[int, str]:
    return read_page(f"http://127.0.0.1:{port}/{page}")


def test_waiting_process_is_live_and_not_ready_and_stops_on_a_signal() -> None:
    with start("process.wait_for('Kafka at broker:9092', never)") as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert "INFO touchline.test one: metrics on http://127.0.0.1:" in line
            eventually(lambda: ask(port_of(line), "ready") == (503, "waiting for Kafka at broker:9092\n"))
            assert ask(port_of(line), "live") == (200, "ok\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0
            assert "WARNING touchline.test waiting for Kafka at broker:9092 (0 s): nobody listens" in process.stderr.read()
        finally:
            process.kill()


def test_process_that_does_not_stop_ends_with_75() -> None:
    with start("process.use_probes(str, str)\nwhile True: threading.Event().wait(0.1)") as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            eventually(lambda: ask(port_of(line), "ready") == (200, "ok\n"))
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=5) == 75
        finally:
            process.kill()


@pytest.mark.parametrize(("attempt_seconds", "reports"), [(1, [1, 10, 20]), (6, [6, 12, 24, 30, 42, 54, 60])])
def test_wait_reports_at_once_and_then_every_ten_seconds(
    attempt_seconds: int, reports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1_000, attempt_seconds))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.0)
    answers = iter([RetryableError("Kafka at broker:9092: down")] * (25 if attempt_seconds == 1 else 10))

    def attempt() -> str:
        for error in answers:
            raise error
        return "up"

    lines: list[str] = []
    assert wait_for("Kafka at broker:9092", attempt, lines.append) == "up"
    assert lines == [f"waiting for Kafka at broker:9092 ({seconds} s): down" for seconds in reports]


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("Kafka at broker: down", "down"),
        ("Kafka at broker ends the handshake", "ends the handshake"),
        ("Kafka at broker:9092: down", "Kafka at broker:9092: down"),
    ],
)
def test_wait_names_the_service_once(raised: str, reason: str) -> None:
    def attempt() -> None:
        raise RetryableError(raised)

    with pytest.raises(RetryableError, match=f"^Kafka at broker did not answer within 0 s: {reason}$"):
        wait_for("Kafka at broker", attempt, lambda _: None, seconds=0.0)


def test_bounded_wait_ends_with_a_retryable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)

    def attempt() -> None:
        raise RetryableError("down")

    with pytest.raises(RetryableError, match=r"^Kafka did not answer within 0 s: down$") as raised:
        wait_for("Kafka", attempt, lambda _: None, seconds=0.1)
    assert raised.value.exit_code == 1


def test_wrong_credentials_end_the_wait_at_once() -> None:
    def attempt() -> None:
        raise ConfigError("wrong password")

    with pytest.raises(ConfigError):
        wait_for("Kafka", attempt, lambda _: None)


BLOCK = """
def block():
    print("blocked", file=sys.stderr, flush=True)
    threading.Event().wait(30)
"""


@pytest.mark.parametrize(
    ("script", "code"),
    [("process.wait_for('Kafka', block)", 0), ("process.release_signals(); block()", -signal.SIGTERM)],
    ids=["in an attempt", "with signals released"],
)
def test_stop_signal_ends_a_process_that_has_no_work_in_hand(script: str, code: int) -> None:
    with start(BLOCK + script) as process:
        assert process.stderr is not None
        try:
            process.stderr.readline()
            assert process.stderr.readline() == "blocked\n"
            process.terminate()
            assert process.wait(timeout=5) == code
        finally:
            process.kill()


@pytest.mark.parametrize("call", ["process.wait_for('Kafka', str)", "process.release_signals()"])
def test_stop_before_the_wait_or_the_release_ends_a_process(call: str) -> None:
    with start(f"process.stop.set(); {call}; sys.exit(3)") as process:
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("METRICS_PORT", "abc"), ("METRICS_PORT", "65536"), ("RESTARTS", "-1"), ("WAIT_SECONDS", "s3cret")],
)
def test_wrong_setting_names_its_variable_and_hides_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TOUCHLINE_{name}", value)
    with pytest.raises(ConfigError) as raised:
        ProcessSettings()
    assert str(raised.value).startswith(f"TOUCHLINE_{name}: ")
    assert value not in str(raised.value)


def test_process_is_supervised_only_where_its_supervisor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOUCHLINE_RESTARTS", raising=False)
    assert not ProcessSettings().is_supervised
    monkeypatch.setenv("TOUCHLINE_RESTARTS", "0")
    assert ProcessSettings().is_supervised


def test_port_in_use_is_a_wrong_setting() -> None:
    with start("threading.Event().wait()", TOUCHLINE_METRICS_PORT="0") as first:
        assert first.stderr is not None
        try:
            port = port_of(first.stderr.readline())
            with start("", TOUCHLINE_METRICS_PORT=str(port)) as second:
                _, output = second.communicate(timeout=20)
            assert "ConfigError: TOUCHLINE_METRICS_PORT is wrong: cannot listen" in output
        finally:
            first.kill()


def labels(folder: Path) -> list[str]:
    return sorted(json.loads(file.read_text())[0]["labels"]["instance"] for file in folder.glob("work-*.json"))


@pytest.fixture(autouse=True)
def _no_target_file_is_left() -> Iterator[None]:
    yield
    withdraw()


ANNOUNCE = """
import os, signal, sys
from pathlib import Path
from schemas.service.targets import announce, keep_target_after_failure
def stop(code):
    sys.exit(code)
with keep_target_after_failure():
    announce(Path(sys.argv[1]), "work", sys.argv[2], 1, is_supervised=False, is_bounded="bounded" in sys.argv[3])
    print("ready", flush=True)
    exec(sys.argv[3])
"""


def announce_elsewhere(folder: Path, name: str, then: str) -> subprocess.Popen[str]:
    """Start a process that writes its target file and then runs `then`; return it once the file is there."""
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(folder), name, then], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    "end", ["signal.raise_signal(signal.SIGKILL)", "stop(2)", "stop(70)", "raise ValueError", "os._exit(70)"]
)
def test_target_file_stays_after_an_unexpected_end_until_the_name_is_back(tmp_path: Path, end: str) -> None:
    with announce_elsewhere(tmp_path, "worker-2", end) as gone:
        gone.wait()
    announce(tmp_path, "work", "worker", 1, is_supervised=False)
    assert labels(tmp_path) == ["worker", "worker-2"]
    withdraw()
    announce(tmp_path, "work", "worker-2", 2, is_supervised=True)
    assert labels(tmp_path) == ["worker-2"]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())[0]["targets"] == ["127.0.0.1:2"]


@pytest.mark.parametrize("end", ["pass", "stop(0)", "stop(None)", "stop(1)  # bounded"])
def test_normal_end_removes_the_target_file(tmp_path: Path, end: str) -> None:
    with announce_elsewhere(tmp_path, "worker", end) as gone:
        gone.wait()
    assert not list(tmp_path.iterdir())


def test_second_process_of_a_name_has_its_process_id_appended(tmp_path: Path) -> None:
    with announce_elsewhere(tmp_path, "worker", "signal.pause()") as first:
        announce(tmp_path, "work", "worker", 1, is_supervised=False)
        assert labels(tmp_path) == ["worker", f"worker-{os.getpid()}"]
        withdraw()
        announce(tmp_path, "work", "worker", 1, is_supervised=True)
        assert labels(tmp_path) == ["worker", f"worker-{os.getppid()}"]
        first.kill()


def test_file_of_an_unnamed_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    with announce_elsewhere(tmp_path, "worker", "signal.pause()") as first:
        with announce_elsewhere(tmp_path, "worker", "signal.raise_signal(signal.SIGKILL)") as second:
            second.wait()
        assert labels(tmp_path) == ["worker", f"worker-{second.pid}"]
        announce(tmp_path, "work", "worker-3", 1, is_supervised=False)
        assert labels(tmp_path) == ["worker", "worker-3"]
        first.kill()


def test_name_with_a_slash_is_one_file(tmp_path: Path) -> None:
    announce(tmp_path, "work", "a/b@1", 1, is_supervised=False)
    assert [file.name for file in tmp_path.iterdir()] == ["work-a%2Fb%401.json"]
    assert labels(tmp_path) == ["a/b@1"]


def test_forced_end_of_a_stopped_process_removes_its_target_file(tmp_path: Path) -> None:
    script = "process.stop.wait(); threading.Event().wait()"
    with start(script, TOUCHLINE_TARGETS=str(tmp_path)) as process:
        assert process.stderr is not None
        process.stderr.readline()
        eventually(lambda: list(tmp_path.iterdir()), 5)
        process.terminate()
        assert process.wait(10) == FORCED
    assert not list(tmp_path.iterdir())


def test_unwritable_targets_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="TOUCHLINE_TARGETS"):
        announce(tmp_path / "file", "work", "worker", 1, is_supervised=False)
