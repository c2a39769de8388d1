"""The demo's processes: started again when they die, given up when that is in vain, and never left behind."""

import os
import time
from pathlib import Path

import psutil
import pytest

from deploy.demo.processes import MOST_STARTS, Child, processes, touchline
from schemas.errors import ConfigError, FatalError

SETTINGS = Path(__file__).parents[2] / "deploy" / "demo" / "cdnow.yaml"


def ended(child: Child) -> None:
    child.process.wait(30)
    child.tend()


def test_a_command_that_ended_well_is_done_and_not_started_again(tmp_path: Path) -> None:
    with processes(tmp_path) as children:
        child = children.start("version", ["--version"], once=True)
        ended(child)
        children.tend()
        assert children.sources_done
        assert child.starts == 1
    assert "touchline, version" in (tmp_path / "demo-version.log").read_text()


def test_a_process_that_dies_is_started_again_with_one_log(tmp_path: Path) -> None:
    with processes(tmp_path) as children:
        child = children.start("worker", ["--version"])
        first = child.process.pid
        ended(child)
        assert child.process.pid != first
        assert not child.done
        child.process.wait(30)
    assert (tmp_path / "demo-worker.log").read_text().count("touchline, version") == 2


def test_a_process_that_keeps_dying_ends_the_demo_with_its_last_words_and_log(tmp_path: Path) -> None:
    with processes(tmp_path) as children:
        child = children.start("worker", ["--version"])
        for _ in range(MOST_STARTS - 1):
            ended(child)
        with pytest.raises(FatalError, match=rf"worker ended {MOST_STARTS} times(?s:.*)version(?s:.*)demo-worker.log"):
            ended(child)


def test_a_configuration_error_ends_the_demo_at_once(tmp_path: Path) -> None:
    with processes(tmp_path) as children:
        child = children.start("telecom", ["connect", "files", "--settings", str(tmp_path / "none.yaml")], once=True)
        with pytest.raises(ConfigError, match="telecom cannot run"):
            ended(child)
        assert child.starts == 1


def test_no_process_outlives_the_block_even_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    command = ["connect", "files", "--settings", str(SETTINGS), "--root", str(tmp_path)]
    started = []

    def interrupted() -> None:
        with processes(tmp_path) as children:
            started.append(children.start("cdnow", command).process.pid)
            time.sleep(0.5)
            assert psutil.pid_exists(started[0])
            assert os.getsid(started[0]) != os.getsid(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(started[0])


def test_a_step_that_fails_is_told_with_its_own_words() -> None:
    with pytest.raises(FatalError, match=r"`touchline sink nothing` failed:(?s:.*)there is no table nothing"):
        touchline("sink", "nothing")
