"""The state file: its content, and commands while it is damaged."""

import os
from pathlib import Path

import psutil
import pytest

from deploy.local import state
from deploy.local.state import Stack, Supervised
from deploy.local.tools import fetch_tools
from schemas.errors import ConfigError
from schemas.service.secret import MIN_CHARACTERS, SECRET, SECRET_FILE


def stack(**changes: object) -> Stack:
    here = psutil.Process()
    fields: dict[str, object] = {
        "supervisor_pid": here.pid,
        "supervisor_started": here.create_time(),
        "kafka_port": 19092,
        "kafka_controller_port": 19093,
        "clickhouse_port": 19000,
        "clickhouse_http_port": 18123,
    }
    return Stack.model_validate(fields | changes)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOUCHLINE_HOME", str(tmp_path))
    own = ("TOUCHLINE_KAFKA", "TOUCHLINE_CLICKHOUSE", "TOUCHLINE_IDENTITY")
    for name in [name for name in os.environ if name.startswith(own)]:
        monkeypatch.delenv(name)
    return tmp_path


def test_stack_is_written_and_read_back(home: Path) -> None:
    written = stack(services=(Supervised(name="kafka", pid=1, started=2.0, restarts=3),))
    state.write(home, written)
    assert state.read() == written
    assert [file.name for file in home.iterdir()] == ["stack.json"]


def test_missing_state_file_is_no_stack(home: Path) -> None:
    assert state.read() is None
    assert state.read_running(home) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"kafka_port": 9092}'])
def test_damaged_state_file_names_the_next_step(home: Path, content: bytes) -> None:
    (home / "stack.json").write_bytes(content)
    with pytest.raises(ConfigError, match="touchline down"):
        state.read()
    assert state.read_running(home) is None


def test_damaged_state_file_does_not_keep_down_from_running(home: Path) -> None:
    (home / "stack.json").write_text("{")
    state.export_addresses()
    assert "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS" not in os.environ


def test_addresses_are_exported_unless_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092"})
    state.write(home, stack())
    state.export_addresses()
    assert os.environ["TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"] == "elsewhere:9092"
    assert os.environ["TOUCHLINE_CLICKHOUSE_HOST"] == "127.0.0.1"
    assert os.environ["TOUCHLINE_CLICKHOUSE_PORT"] == "19000"
    assert os.environ["TOUCHLINE_CLICKHOUSE_HTTP_PORT"] == "18123"


def test_reused_pid_is_not_the_supervisor(home: Path) -> None:
    state.write(home, stack())
    assert state.read_running(home) is not None
    state.write(home, stack(supervisor_started=psutil.Process().create_time() - 60))
    assert state.read_running(home) is None


def test_tools_are_shared_by_setting_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOUCHLINE_TOOLS", raising=False)
    assert state.tools_folder(tmp_path) == tmp_path / "tools"
    monkeypatch.setenv("TOUCHLINE_TOOLS", str(tmp_path / "shared"))
    assert state.tools_folder(tmp_path) == tmp_path / "shared"


def test_addresses_of_a_stack_without_supervisor_are_not_exported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    state.write(home, stack(supervisor_started=psutil.Process().create_time() - 60))
    state.export_addresses()
    assert "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS" not in os.environ
    assert "TOUCHLINE_CLICKHOUSE_HOST" not in os.environ


def test_unreadable_state_file_names_the_folder_setting(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ConfigError, match="TOUCHLINE_HOME"):
        state.read(tmp_path / "home")


def test_password_is_exported_with_the_address_of_the_local_stack_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(home, stack())
    state.password_file(home).parent.mkdir()
    state.password_file(home).write_text("local")
    monkeypatch.setattr(os, "environ", {**os.environ, "TOUCHLINE_CLICKHOUSE_HOST": "elsewhere"})
    state.export_addresses()
    assert "TOUCHLINE_CLICKHOUSE_PASSWORD" not in os.environ
    del os.environ["TOUCHLINE_CLICKHOUSE_HOST"]
    state.export_addresses()
    assert (os.environ["TOUCHLINE_CLICKHOUSE_USER"], os.environ["TOUCHLINE_CLICKHOUSE_PASSWORD"]) == (state.ADMIN, "local")


def test_home_folder_becomes_private(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    for folder in (open_to_all, tmp_path / "new" / "home"):
        state.make_private(folder)
        assert folder.stat().st_mode & 0o777 == 0o700


def test_folder_of_other_files_is_not_made_private(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "letter.txt").touch()
    with pytest.raises(ConfigError, match=f"{shared} is open to others and holds other files: set TOUCHLINE_HOME"):
        state.make_private(shared)
    assert shared.stat().st_mode & 0o777 == 0o755
    (shared / "tools").mkdir()  # `touchline up --download-only` made it
    state.make_private(shared)
    assert shared.stat().st_mode & 0o777 == 0o700


def test_empty_home_setting_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_HOME", "")
    monkeypatch.setenv("TOUCHLINE_TOOLS", "")
    assert state.home() == tmp_path / ".touchline"
    assert state.tools_folder(state.home()) == tmp_path / ".touchline" / "tools"


def test_home_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="TOUCHLINE_HOME"):
        state.make_private(tmp_path / "file" / "home")


def test_tools_folder_that_cannot_be_written_is_named_with_its_own_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOUCHLINE_TOOLS", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"file cannot be written \(.*\): set TOUCHLINE_TOOLS to a folder of yours$"):
        fetch_tools(tmp_path)


def test_secret_of_the_stack_is_private_and_stays(tmp_path: Path) -> None:
    state.make_secret(tmp_path)
    path = state.secret_file(tmp_path)
    written = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(written.strip()) >= MIN_CHARACTERS
    state.make_secret(tmp_path)
    assert path.read_text() == written


def test_secret_is_exported_with_the_kafka_of_the_local_stack_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(home, stack())
    state.make_secret(home)
    monkeypatch.setattr(os, "environ", {**os.environ, "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092"})
    state.export_addresses()
    assert SECRET_FILE not in os.environ
    del os.environ["TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"]
    state.export_addresses()
    assert os.environ[SECRET_FILE] == str(state.secret_file(home))


def test_secret_of_the_environment_counts_before_that_of_the_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(home, stack())
    state.make_secret(home)
    monkeypatch.setattr(os, "environ", {**os.environ, SECRET: "a secret of one's own"})
    state.export_addresses()
    assert SECRET_FILE not in os.environ
