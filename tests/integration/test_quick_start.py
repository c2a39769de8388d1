"""The quick start of the root README, run as written in one shell."""

import subprocess
from pathlib import Path

import psutil
import pytest

from deploy.local.state import Stack
from tests.harness.markdown import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
SECONDS = 180


def read_quick_start() -> list[str]:
    """Return the lines of the README's code block below "Run it"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Run it\n")[2].partition("\n## ")[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


def run_in_shell(lines: list[str], log: Path) -> int:
    """Return the exit code of the lines, run in bash with job control. No process that they start outlives the call."""
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-e", "-m", "-c", "\n".join(lines)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        return shell.wait(SECONDS)
    except subprocess.TimeoutExpired:
        running = psutil.Process(shell.pid)
        for process in [*running.children(recursive=True), running]:
            process.kill()
        return shell.wait()


def test_quick_start_runs_as_written(own_stack: Stack, tmp_path: Path) -> None:
    setup, *lines = read_quick_start()
    assert setup.startswith("make setup ")  # this environment is its result
    code = run_in_shell(lines, tmp_path / "log")
    shown = (tmp_path / "log").read_text()
    assert code == 0, shown
    assert "Touchline is running already." in shown
    assert "case orders: " in shown
    assert "email:ann@example.com" in shown
    assert "Touchline is down." in shown
    assert not own_stack.is_alive
