"""Start of the supervisor: it keeps nothing of its caller."""

import os
import select
from pathlib import Path

import pytest

from deploy.local import processes


def test_supervisor_inherits_no_open_file_of_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "SUPERVISOR", "sleeper")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        supervisor = processes.start_supervisor(tmp_path, tmp_path / "log")
    finally:
        os.close(writer)
    try:
        assert select.select([reader], [], [], 5)[0], "the pipe is still open in the supervisor"
        assert os.read(reader, 1) == b""
        assert processes.is_alive(supervisor)
    finally:
        processes.end([supervisor], 0)
        os.close(reader)
