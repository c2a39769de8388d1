"""Services of the local stack: settings, pinned versions, pauses between starts, prerequisites."""

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from deploy.local import fetching, prerequisites, processes, supervisor
from deploy.local.clickhouse import server
from deploy.local.kafka import broker
from deploy.local.ports import Ports
from deploy.local.prerequisites import Program
from schemas.errors import ConfigError, RetryableError

PORTS = Ports(kafka=19092, kafka_controller=19093, clickhouse=19000, clickhouse_http=18123)
ODD = Path("/odd/müll & <co>/\\𝄞")


def properties(text: str) -> dict[str, str]:
    """As Java reads them."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    units = {
        key: re.sub(r"\\u(....)", lambda m: chr(int(m[1], 16)), value) for key, value in (line.split("=", 1) for line in lines)
    }
    return {key: value.encode("utf-16", "surrogatepass").decode("utf-16") for key, value in units.items()}


def test_kafka_listens_on_loopback_with_the_given_ports() -> None:
    values = properties(broker.render(Path("/data"), PORTS))
    assert values["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"
    assert values["advertised.listeners"] == "PLAINTEXT://127.0.0.1:19092"
    assert values["controller.quorum.voters"] == "1@127.0.0.1:19093"


def test_kafka_settings_survive_an_odd_folder_name() -> None:
    text = broker.render(ODD, PORTS)
    assert text.isascii()
    assert properties(text)["log.dirs"] == str(ODD)


def test_kafka_refuses_a_folder_it_would_misread(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TOUCHLINE_HOME"):
        broker.prepare(tmp_path / "a,b", PORTS)


def test_clickhouse_settings_survive_an_odd_folder_name() -> None:
    values = ET.fromstring(server.render(ODD, PORTS))
    assert values.findtext("path") == f"{ODD}/clickhouse/data/"
    assert values.findtext("user_directories/users_xml/path") == f"{ODD}/clickhouse/users.xml"
    assert (values.findtext("tcp_port"), values.findtext("http_port")) == ("19000", "18123")
    assert values.findtext("listen_host") == "127.0.0.1"


def test_lock_pins_the_library_by_hash_and_names_no_registry() -> None:
    text = (server.HERE / "package-lock.json").read_text()
    entry = json.loads(text)["packages"][f"node_modules/{server.LOCKED_PACKAGE}"]
    assert entry["version"] == server.VERSION
    assert entry["integrity"].startswith("sha512-")
    assert "http" not in text


def test_machine_without_a_library_gets_the_program_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="`clickhouse` program"):
        server.package()


def test_pause_doubles_up_to_a_limit() -> None:
    assert [supervisor.compute_pause(failures) for failures in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert supervisor.compute_pause(5000) == 30


def crashed(child: supervisor.Child) -> float:
    """Wait for the end of the child, let the supervisor detect it, and return the pause until the next start."""
    child.process.wait(10)
    assert child.check()
    return child.due - time.monotonic()


def restarted(child: supervisor.Child) -> None:
    child.due = time.monotonic()
    assert child.check()


def test_service_that_never_became_healthy_restarts_after_a_growing_pause(tmp_path: Path) -> None:
    child = supervisor.Child("kafka", [sys.executable, "-c", "exit(1)"], tmp_path / "log", lambda: False)
    pauses = []
    for _ in range(3):
        pauses.append(round(crashed(child), 1))
        restarted(child)
    child.process.wait(10)
    assert pauses == [0.5, 1.0, 2.0]
    assert child.status.restarts == 3


def test_service_that_had_been_healthy_restarts_without_a_grown_pause(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(30)"]
    child = supervisor.Child("clickhouse", command, tmp_path / "log", lambda: True)
    try:
        for _ in range(4):
            assert not child.check()
            child.process.kill()
            assert round(crashed(child), 1) == 0.5
            restarted(child)
    finally:
        child.process.kill()
        child.process.wait()


def test_failed_download_leaves_no_file(tmp_path: Path) -> None:
    place = tmp_path / "tool"

    def fetch() -> None:
        with fetching.complete_folder(place) as folder:
            (folder / "half").write_text("half")
            fetching.run("the tool", [sys.executable, "-c", "import sys; sys.exit('no network')"], folder)

    with pytest.raises(RetryableError, match="no network"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_finished_download_is_complete(tmp_path: Path) -> None:
    with fetching.complete_folder(tmp_path / "tool") as folder:
        (folder / "all").write_text("all")
    assert [file.name for file in (tmp_path / "tool").iterdir()] == ["all"]


def test_missing_program_is_named_with_its_command() -> None:
    finding = prerequisites.find_program(Program("no-such-program", "-v", 1, "nothing", "some-package", "some-formula"))
    assert not finding.ok
    assert finding.remedy.endswith(("apt-get install -y some-package", "brew install some-formula"))
    assert "\n" not in finding.remedy


def test_old_program_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "java"
    script.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ConfigError, match="java"):
        prerequisites.require(["java"])
    program = next(program for program in prerequisites.PROGRAMS if program.name == "java")
    assert prerequisites.find_program(program).found == "11.0.2, 17 needed"


def test_coloured_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "mvn"
    script.write_text("#!/bin/sh\nprintf '\\033[1mApache Maven 3.8.7\\033[m\\n'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = next(program for program in prerequisites.PROGRAMS if program.name == "mvn")
    assert prerequisites.find_program(program).found == "3.8.7"


def test_options_for_java_in_the_environment_are_not_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"):
        monkeypatch.setenv(name, "-Dnumber=1")
    program = next(program for program in prerequisites.PROGRAMS if program.name == "java")
    assert prerequisites.find_program(program).ok


def test_other_processes_are_never_found_as_services(tmp_path: Path) -> None:
    config = broker.config(tmp_path)
    reader = psutil.Popen([sys.executable, "-c", "import time; time.sleep(30)", str(config)])
    with reader:
        try:
            assert processes.find_services(tmp_path) == []
        finally:
            reader.kill()


def test_password_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").mkdir()
    first = server.make_password(tmp_path)
    assert len(first) == 32
    assert server.make_password(tmp_path) == first
    assert (tmp_path / "clickhouse" / "password").stat().st_mode & 0o777 == 0o600


def test_every_user_that_may_log_in_needs_the_password() -> None:
    users = ET.fromstring(server.render_users("secret")).find("users")
    assert users is not None
    passwords = {user.tag: user.findtext("password_sha256_hex") for user in users if user.find("networks/ip") is not None}
    assert passwords.pop("default") is None  # its only session is the library's own
    assert set(passwords.values()) == {hashlib.sha256(b"secret").hexdigest()}
    assert "secret" not in server.render_users("secret")


CONFINED = """
import sys
from deploy.local.clickhouse.confinement import confine
inside, outside = sys.argv[1:]
if not confine([], [inside]):
    sys.exit(3)
open(inside + "/written", "w").write("x")
for path in (outside, "/proc/self/environ", "/proc/1/environ"):
    try:
        open(path).read()
    except PermissionError:
        continue
    sys.exit(4)
open("/proc/self/statm").read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is a part of Linux")
def test_confined_process_opens_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").write_text("customer")
    command = [sys.executable, "-c", CONFINED, str(tmp_path / "inside"), str(tmp_path / "outside")]
    assert subprocess.run(command, check=False, cwd=server.HERE.parents[2]).returncode == 0
