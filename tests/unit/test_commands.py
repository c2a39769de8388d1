"""Arguments and output of single commands, without a server."""

import re
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from connectors.settings import list_connectors
from deploy.commands import connectors, migrate, prometheus, schemas
from deploy.prometheus.config import write_config
from deploy.terminal.options import PROCESS_NAME, TIME
from deploy.topics import options
from schemas.errors import ConfigError
from schemas.wire.topics import TOPICS

PROJECT = Path(__file__).parents[2]


def test_changes_of_migrate_cut_no_word_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    settings = ", ".join(f"{name}={value}" for topic in TOPICS for name, value in options(topic).items())
    topics = [(topic.name, "configure", settings) for topic in TOPICS]
    step = ("migration", "connector_state/0002_backfill_difference", "apply")
    migrate.show_changes(topics, [step], "done")
    words = capsys.readouterr().out.split()
    assert set(settings.split()) <= set(words)
    assert {*step, *(topic.name for topic in TOPICS)} <= set(words)


def test_migrate_lists_no_unchanged_object(capsys: pytest.CaptureFixture[str]) -> None:
    migrate.show_changes([("touchline.erp", "none", "")], [("view", "kpis", "none")], "planned")
    assert capsys.readouterr().out == "2 unchanged\n"


def test_each_listed_schema_can_be_shown() -> None:
    listed = CliRunner().invoke(schemas.command, ["show"]).output.split()[1::2]
    assert "dead_letter-1" in listed
    shown = [CliRunner().invoke(schemas.command, ["show", name]) for name in listed]
    assert {result.exit_code for result in shown} == {0}
    assert len({result.output for result in shown}) == len(listed)


@pytest.mark.parametrize("name", ["worker", "worker-2", "Host.example_1", "0"])
def test_process_name_may_be_a_host_name(name: str) -> None:
    assert PROCESS_NAME.convert(name, None, None) == name


@pytest.mark.parametrize("name", ["", "a/b", "..", "../x", ".hidden", "-x", "a b", "a\n", "a" * 101])
def test_process_name_that_is_no_folder_is_rejected(name: str) -> None:
    with pytest.raises(click.BadParameter, match="letters, digits, dots"):
        PROCESS_NAME.convert(name, None, None)


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T12:00", "2026-11-01T12:00:30", "2026-11-01 12:00:30"])
def test_time_option_takes_date_with_or_without_time(text: str) -> None:
    assert TIME.convert(text, None, None).strftime("%Y-%m-%d") == "2026-11-01"


def test_used_port_of_prometheus_is_named_with_its_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^port {port} of 127.0.0.1 is in use: give another one with --port$"):
            prometheus.require_free_port(port)
    prometheus.require_free_port(port)


def test_folder_that_prometheus_cannot_write_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"prometheus.yml \(Not a directory\): set TOUCHLINE_HOME"):
        write_config(tmp_path / "file" / "prometheus", "")


@pytest.mark.parametrize("is_in_project", [True, False])
def test_connectors_are_listed_with_samples_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_in_project: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(PROJECT if is_in_project else tmp_path)
    lines = CliRunner().invoke(connectors.command).output.splitlines()
    assert set(list_connectors()) <= {line.split(" ", 1)[0] for line in lines}
    assert max(map(len, lines[:-2])) <= 80
    assert Path(lines[-1].partition("--settings ")[2].removesuffix(" --check")).is_file()


def test_help_of_make_fits_80_columns() -> None:
    targets = re.findall(r"^([a-z-]+):.*## (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert len(targets) > 10
    assert [name for name, text in targets if len(f"  make {name:16} {text}") > 80] == []
