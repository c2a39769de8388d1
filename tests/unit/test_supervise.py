"""The supervisor of a command, with real processes: what is started again, what is not, and how both end."""

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

from deploy.supervise import FIRST_PAUSE, LONGEST_PAUSE, pause
from tests.harness.stack import TOUCHLINE

SUPERVISOR = """
import sys
from deploy import supervise
supervise.FIRST_PAUSE, supervise.GRACE = 0.2, {grace}
sys.exit(supervise.Supervisor(sys.argv[1:]).run())
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path
seen = Path(sys.argv[1])
seen.open("a").write(f"{os.getpid()} {os.environ['TOUCHLINE_RESTARTS']}\\n")
def wait():
    time.sleep(30)
def leave_well():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wait()
def never_leave():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()
def end(*codes):
    code = codes[int(os.environ["TOUCHLINE_RESTARTS"])]
    os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
"""


@contextmanager
def supervised(seen: Path, script: str, grace: float = 9.7) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SUPERVISOR.format(grace=grace), sys.executable, "-c", CHILD + script, str(seen)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(seen: Path) -> list[list[int]]:
    """Process id and restarts of each child so far, oldest first."""
    return [[int(word) for word in line.split()] for line in seen.read_text().splitlines()] if seen.exists() else []


def started(seen: Path) -> int:
    """The process id of the first child, once it runs."""
    for _ in range(200):
        if found := children(seen):
            time.sleep(0.1)
            return found[0][0]
        time.sleep(0.05)
    raise TimeoutError(seen)


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid):
            return True
        time.sleep(0.05)
    return False


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_pauses_double_up_to_a_minute_and_never_come_all_at_once(failures: int, chance: float) -> None:
    assert FIRST_PAUSE / 2 <= pause(failures, chance) <= LONGEST_PAUSE
    assert pause(failures + 1, chance) == min(2 * pause(failures, chance), LONGEST_PAUSE * (0.5 + 0.5 * chance))


def test_a_command_that_crashed_or_was_killed_starts_again_until_it_is_done(tmp_path: Path) -> None:
    with supervised(tmp_path / "seen", "end(70, -9, 1, 0)") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [restarts for _, restarts in children(tmp_path / "seen")] == [0, 1, 2, 3]
    told = re.findall(r"WARNING supervisor: .* ended with (.*), restart (\d) in \d\.\d s\n", said)
    assert told == [("code 70", "1"), ("SIGKILL", "2"), ("code 1", "3")]


def test_wrong_settings_are_not_tried_again(tmp_path: Path) -> None:
    with supervised(tmp_path / "seen", "end(2)") as process:
        _, said = process.communicate(timeout=30)
    assert said == ""
    assert process.returncode == 2
    assert len(children(tmp_path / "seen")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_wish_to_end_reaches_the_child(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path / "seen", "leave_well()") as process:
        child = started(tmp_path / "seen")
        process.send_signal(number)
        assert process.wait(timeout=5) == 0
    assert gone(child)


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path / "seen", "never_leave()", grace=0.5) as process:
        child = started(tmp_path / "seen")
        process.terminate()
        assert process.wait(timeout=5) == 75
    assert gone(child)


def test_the_wish_to_end_is_heard_between_two_starts(tmp_path: Path) -> None:
    with supervised(tmp_path / "seen", "end(*[70] * 99)") as process:
        while len(children(tmp_path / "seen")) < 3:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=5) in (0, 70)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_supervisor_takes_its_child_with_it(tmp_path: Path) -> None:
    with supervised(tmp_path / "seen", "never_leave()") as process:
        child = started(tmp_path / "seen")
        process.kill()
        assert gone(child)


def test_the_supervisor_is_small_and_leaves_no_zombies(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "deploy.supervise", sys.executable, "-c", CHILD + "wait()", str(tmp_path / "seen")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        first = started(tmp_path / "seen")
        assert psutil.Process(process.pid).memory_info().rss < 20 * 2**20
        os.kill(first, signal.SIGKILL)
        while len(children(tmp_path / "seen")) < 2:
            time.sleep(0.05)
        assert [child.pid for child in psutil.Process(process.pid).children()] == [children(tmp_path / "seen")[1][0]]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("arguments", [["sink", "orders"], ["connect", "files", "--settings", "none.yaml"]])
def test_a_command_with_wrong_settings_says_so_once_and_ends(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.count("touchline: ") == 1
