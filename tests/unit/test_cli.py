"""The `touchline` command: its help, and the errors that no command expects."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deploy import cli
from deploy.commands import doctor


def groups() -> Iterator[tuple[str, click.Group]]:
    """All groups of commands, with the command line of each."""
    context = click.Context(cli.touchline)
    assert isinstance(cli.touchline, click.Group)
    yield "touchline", cli.touchline
    for name in cli.touchline.list_commands(context):
        command = cli.touchline.get_command(context, name)
        if isinstance(command, click.Group):
            yield f"touchline {name}", command


GROUPS = dict(groups())


@pytest.mark.parametrize("name", GROUPS)
def test_no_summary_is_cut_at_80_columns(name: str) -> None:
    result = CliRunner().invoke(GROUPS[name], ["--help"], terminal_width=80)
    assert result.exit_code == 0
    listed = result.output.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(GROUPS[name].list_commands(click.Context(GROUPS[name])))
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/srv/x"), NotADirectoryError(20, "Not a directory", "/srv/x")]
)
def test_path_that_cannot_be_used_is_one_line_and_code_2(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "touchline", fail)
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 2
    assert (
        capsys.readouterr().err
        == f"touchline: cannot use /srv/x ({error.strerror}): change its rights, or the setting that names it\n"
    )


@pytest.mark.parametrize("error", [ConnectionResetError(), PermissionError(1, "Operation not permitted")])
def test_failed_connection_is_no_wrong_path(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "touchline", fail)
    with pytest.raises(type(error)):
        cli.main()


def test_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli.touchline, ["connects"], prog_name=sys.argv[0])
    assert result.exit_code == 2
    assert "No such command" in result.output


@pytest.mark.parametrize(("name", "text"), [("file", "cannot read .*Not a directory"), ("damaged", "is damaged: run `.*down`")])
def test_doctor_ends_with_code_2_where_the_home_folder_is_unusable(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "stack.json").write_text("{")
    monkeypatch.setenv("TOUCHLINE_HOME", str(tmp_path / name))
    monkeypatch.setenv("TOUCHLINE_TARGETS", "")  # the command sets it for this process where it is missing
    monkeypatch.setattr(sys, "argv", ["touchline", "doctor"])
    monkeypatch.setattr(doctor, "examine", lambda _home: [])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert re.search(text, capsys.readouterr().err)
