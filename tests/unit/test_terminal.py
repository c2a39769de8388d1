"""Terminal output: safe text, tables of 80 columns, colours only on a terminal, commands that work as printed."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.commands import doctor, status
from deploy.local.health import Health, State
from deploy.local.prerequisites import Finding
from deploy.terminal import program
from deploy.terminal.console import PIPE_COLUMNS, console, print_line
from deploy.terminal.table import table
from deploy.terminal.text import format_count, printable


@given(st.text())
def test_printable_text_has_no_control_character(text: str) -> None:
    shown = printable(text).plain
    assert len(shown) == len(text)
    assert all(one.isprintable() or one == "\n" for one in shown)


def test_columns_wrap_at_blanks_and_numbers_stay_whole() -> None:
    out = io.StringIO()
    made = table("id", "~text", ">count")
    made.add_row("6f1d1a52", "long words of many letters " * 8, "1,234,567")
    Console(file=out, width=40).print(made)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert {"6f1d1a52", "1,234,567", "letters"} <= set(out.getvalue().split())


def test_output_to_a_pipe_has_no_colour_and_one_line_per_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    on = console()
    on.print("red", style="red")
    assert capsys.readouterr().out == "red\n"
    assert on.width == PIPE_COLUMNS
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 80


def test_sentences_keep_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(console(), "[path] " * 60)
    assert capsys.readouterr().out == "[path] " * 60 + "\n"


def test_counted_nouns() -> None:
    assert (format_count(1, "journey"), format_count(0, "journey"), format_count(1_200, "journey")) == (
        "1 journey",
        "0 journeys",
        "1,200 journeys",
    )


def test_command_has_its_path_unless_it_is_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "bin" / "touchline"
    installed.parent.mkdir(parents=True)
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr(program, "PATH", installed)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert program.command("down") == ".venv/bin/touchline down"
    assert program.expand_commands("start it with `touchline up` (see touchline.topic)") == (
        "start it with `.venv/bin/touchline up` (see touchline.topic)"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program.command("down") == f"{installed} down"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program.command("down") == "touchline down"


def test_status_and_doctor_fit_80_columns() -> None:
    out = io.StringIO()
    on = Console(file=out, width=80)
    service = Health(
        service="clickhouse",
        state=State.STARTING,
        address="127.0.0.1:59000",
        pid=4_194_304,
        restarts=1_234,
        data_bytes=999_900_000,
    )
    status.show_services(on, None, [service])
    doctor.show_findings(
        on, [Finding("promtool", "2.42.0, 3 needed", f"data and tools in {'/long' * 20}", "apt-get install -y prometheus")]
    )
    assert "…" not in out.getvalue()
    assert {"127.0.0.1:59000", "4194304", "1234", "999.9"} <= set(out.getvalue().split())
    assert max(map(len, out.getvalue().splitlines())) <= 80
