"""The demo's processes: restarted after a death, given up after six short runs, and stopped at the end."""

import os
import time
from pathlib import Path

import psutil
import pytest

from deploy.demo.processes import MAX_FAILURES, Child, run_processes, run_touchline
from schemas.errors import ConfigError, FatalError

SETTINGS = Path(__file__).parents[2] / "deploy" / "demo" / "cdnow.yaml"


def wait_and_restart(child: Child) -> None:
    child.process.wait(30)
    child.restart_if_dead()


def test_once_command_that_ended_with_code_0_is_not_restarted(tmp_path: Path) -> None:
    with run_processes(tmp_path) as children:
        child = children.start("version", ["--version"], once=True)
        wait_and_restart(child)
        children.restart_dead()
        assert children.are_sources_done
        assert child.starts == 1
    assert "touchline, version" in (tmp_path / "demo-version.log").read_text()


def test_process_that_dies_is_restarted_with_one_log(tmp_path: Path) -> None:
    with run_processes(tmp_path) as children:
        child = children.start("worker", ["--version"])
        first = child.process.pid
        wait_and_restart(child)
        assert child.process.pid != first
        assert not child.is_done
        child.process.wait(30)
    assert (tmp_path / "demo-worker.log").read_text().count("touchline, version") == 2


def test_process_that_keeps_dying_ends_demo_with_last_output_and_log(tmp_path: Path) -> None:
    with run_processes(tmp_path) as children:
        child = children.start("worker", ["--version"])
        for _ in range(MAX_FAILURES - 1):
            wait_and_restart(child)
        with pytest.raises(FatalError, match=rf"worker ended {MAX_FAILURES} times(?s:.*)version(?s:.*)demo-worker.log"):
            wait_and_restart(child)


def test_process_that_had_been_healthy_may_die_any_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.demo.processes.HEALTHY_SECONDS", 0.0)
    with run_processes(tmp_path) as children:
        child = children.start("worker", ["--version"])
        for _ in range(MAX_FAILURES + 1):
            wait_and_restart(child)
        assert child.starts == MAX_FAILURES + 2


def test_configuration_error_ends_demo_without_restart(tmp_path: Path) -> None:
    with run_processes(tmp_path) as children:
        child = children.start("telecom", ["connect", "files", "--settings", str(tmp_path / "none.yaml")], once=True)
        with pytest.raises(ConfigError, match="telecom cannot run"):
            wait_and_restart(child)
        assert child.starts == 1


def test_all_processes_stop_when_the_block_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    command = ["connect", "files", "--settings", str(SETTINGS), "--root", str(tmp_path)]
    started = []

    def interrupted() -> None:
        with run_processes(tmp_path) as children:
            started.append(children.start("cdnow", command).process.pid)
            time.sleep(0.5)
            assert psutil.pid_exists(started[0])
            assert os.getsid(started[0]) != os.getsid(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(started[0])


def test_failed_command_is_reported_with_its_output() -> None:
    with pytest.raises(FatalError, match=r"`touchline sink nothing` failed:(?s:.*)there is no table nothing"):
        run_touchline("sink", "nothing")
