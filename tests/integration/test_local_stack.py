"""The local stack itself: started, killed, damaged and stopped for real, in home folders of its own."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from clickhouse_driver import Client, errors
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from deploy.local import health, processes, stack, state
from deploy.local.health import State
from deploy.local.ports import Ports
from deploy.local.state import ADMIN, Stack
from deploy.local.tools import fetch_tools
from schemas.errors import ConfigError
from schemas.service.secret import MIN_CHARACTERS
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.xdist_group("standard ports")]

TOUCHLINE = Path(sys.executable).with_name("touchline")
SHARED_TOOLS = Path(os.environ.get("TOUCHLINE_TOOLS", Path(__file__).parents[2] / ".touchline" / "tools"))
MAX_RECORD = 6 * 2**20


@pytest.fixture(scope="module", autouse=True)
def one_download() -> Iterator[None]:
    """Every stack of these tests uses the programs that the project's own stack has fetched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOUCHLINE_TOOLS", str(SHARED_TOOLS))
        yield


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder no stack has run in; whatever the test leaves running there is ended."""
    yield tmp_path / "home"
    stack.down(tmp_path / "home")


@pytest.fixture
def running(home: Path) -> Stack:
    return stack.up(home)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For tests that leave their stack serving."""
    folder = tmp_path_factory.mktemp("shared")
    stack.up(folder)
    yield folder
    stack.down(folder)


@pytest.fixture
def shared(shared_home: Path) -> Stack:
    return state_of(shared_home)


def touchline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TOUCHLINE_HOME": str(home)}
    return subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, check=False, timeout=150, env=environment)


def ask(home: Path, sql: str, user: str = ADMIN, password: str | None = None) -> tuple[int, str]:
    """Status and body of a query by HTTP, with the stack's own password unless another is given."""
    connection = http.client.HTTPConnection("127.0.0.1", state_of(home).clickhouse_http_port, timeout=20)
    key = state.password_file(home).read_text() if password is None else password
    with contextlib.closing(connection):
        connection.request("POST", "/", sql.encode(), {"X-ClickHouse-User": user, "X-ClickHouse-Key": key})
        response = connection.getresponse()
        return response.status, response.read().decode().strip()


def query(home: Path, sql: str) -> str:
    status, body = ask(home, sql)
    assert status == http.client.OK, body
    return body


def broker(running: Stack) -> str:
    return f"127.0.0.1:{running.kafka_port}"


def publish(running: Stack, topic: str, value: bytes) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker(running))
    with contextlib.closing(admin):
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    producer = KafkaProducer(bootstrap_servers=broker(running), acks="all", max_request_size=2 * MAX_RECORD)
    with contextlib.closing(producer):
        producer.send(topic, value, partition=0).get(timeout=20)


def consume(running: Stack, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=broker(running), auto_offset_reset="earliest", consumer_timeout_ms=3000, max_poll_records=1
    )
    with contextlib.closing(consumer):
        consumer.assign([TopicPartition(topic, 0)])
        return [record.value for record in consumer]


def back_after_kill(home: Path, name: str) -> float:
    """Kill the service's process and wait until it serves again in a new one; returns the seconds between."""
    pid = state_of(home).service(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()

    def returned() -> bool:
        _, services = health.examine(home)
        return all(service.state is State.UP and service.pid != pid for service in services)

    eventually(returned)
    return time.monotonic() - began


def state_of(home: Path) -> Stack:
    found = state.read(home)
    assert found is not None
    return found


def process_ids(found: Stack) -> list[int]:
    return [found.supervisor_pid, *(service.pid for service in found.services if service.pid)]


def assert_no_process(home: Path, *ids: int) -> None:
    assert processes.find_supervisors(home) + processes.find_services(home) == []
    assert [pid for pid in ids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []


def test_up_serves_and_a_second_up_changes_nothing(home: Path) -> None:
    fetch_tools(home)
    began = time.monotonic()
    first = touchline(home, "up")
    print(f"first start, with formatting: {time.monotonic() - began:.1f} s")  # noqa: T201 a measurement
    assert first.returncode == 0, first.stdout + first.stderr
    before = state_of(home)
    again = touchline(home, "up")
    assert again.returncode == 0
    assert "running already" in again.stdout
    assert process_ids(state_of(home)) == process_ids(before)


def test_status_prints_json_for_programs(home: Path, running: Stack) -> None:
    result = touchline(home, "status", "--json")
    assert result.returncode == 0
    services = json.loads(result.stdout)["services"]
    assert [(service["service"], service["state"], service["restarts"]) for service in services] == [
        ("kafka", "up", 0),
        ("clickhouse", "up", 0),
    ]
    assert services[0]["address"] == broker(running)
    assert touchline(home, "down").returncode == 0
    assert touchline(home, "status", "--json").returncode == 3
    assert "touchline up" in touchline(home, "status").stdout


def test_listens_on_the_loopback_interface_only(shared: Stack) -> None:
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for pid in process_ids(shared)
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_killed_clickhouse_comes_back_with_its_data(shared_home: Path, shared: Stack) -> None:
    query(shared_home, "CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
    query(shared_home, "INSERT INTO kept SELECT number FROM numbers(1000)")
    print(f"ClickHouse back after {back_after_kill(shared_home, 'clickhouse'):.1f} s")  # noqa: T201 a measurement
    assert query(shared_home, "SELECT count(), sum(n) FROM kept") == "1000\t499500"
    assert state_of(shared_home).ports == shared.ports


def test_killed_kafka_comes_back_with_its_data(shared_home: Path, shared: Stack) -> None:
    publish(shared, "kept", b"first")
    print(f"Kafka back after {back_after_kill(shared_home, 'kafka'):.1f} s")  # noqa: T201 a measurement
    eventually(lambda: consume(shared, "kept") == [b"first"])
    assert state_of(shared_home).ports == shared.ports


def test_kafka_stores_the_largest_dead_letter(shared: Stack) -> None:
    publish(shared, "large", os.urandom(MAX_RECORD))
    eventually(lambda: [len(value) for value in consume(shared, "large")] == [MAX_RECORD])


def test_clickhouse_settings_took_effect(shared_home: Path) -> None:
    changed = query(shared_home, "SELECT name, value FROM system.server_settings WHERE changed ORDER BY name FORMAT TSV")
    result = dict(line.split("\t") for line in changed.splitlines())
    assert result["max_server_memory_usage"] == str(4 * 2**30)
    assert result["mark_cache_size"] == str(128 * 2**20)
    assert result["index_mark_cache_size"] == str(64 * 2**20)
    assert result["uncompressed_cache_size"] == "0"


SECRET = {"SHOP_TOKEN": "t0p-secret", "TOUCHLINE_KAFKA_PASSWORD": "t0p-secret"}


@pytest.fixture(scope="module")
def secret_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack that was started in a folder open to everyone, by someone with secrets in the environment."""
    folder = tmp_path_factory.mktemp("secret")
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRET.items():
            patch.setenv(name, value)
        stack.up(folder)
    yield folder
    stack.down(folder)


def test_services_get_no_secret_of_the_environment(secret_home: Path) -> None:
    for pid in process_ids(state_of(secret_home)):
        assert "t0p-secret" not in Path(f"/proc/{pid}/environ").read_text()


def test_home_folder_is_private(secret_home: Path) -> None:
    password = state.password_file(secret_home)
    logs = [file for file in (secret_home / "log").iterdir() if file.suffix == ".log"]
    segments = list((secret_home / "kafka" / "data").rglob("*.log"))
    assert secret_home.stat().st_mode & 0o777 == 0o700
    assert logs
    assert segments
    secret = state.secret_file(secret_home)
    assert len(secret.read_text().strip()) >= MIN_CHARACTERS
    assert [file for file in (password, secret, *logs, *segments) if file.stat().st_mode & 0o077] == []


FILES = (
    "/proc/self/environ",
    "/proc/1/environ",
    "/etc/passwd",
    "{home}/clickhouse/password",
    "{home}/identity.secret",
    "{home}/stack.json",
    "{home}/log/kafka.log",
)


@pytest.mark.parametrize("file", FILES)
def test_no_user_reads_a_file_of_this_machine(secret_home: Path, file: str) -> None:
    place = file.format(home=secret_home)
    assert Path(place).exists()
    for user in ("analyst", "writer", ADMIN):
        for sql in (f"SELECT file('{place}')", f"SELECT * FROM file('{place}', LineAsString)"):
            status, body = ask(secret_home, sql, user)
            assert status != http.client.OK, (user, sql)
            assert "t0p-secret" not in body


def test_kafka_data_cannot_be_read_by_file(secret_home: Path) -> None:
    segment = next((secret_home / "kafka" / "data").rglob("*.log"))
    assert ask(secret_home, f"SELECT file('{segment}')", "analyst")[0] != http.client.OK


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', CSV, 'a String')",
        "SELECT * FROM executable('x', CSV, 'a String')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT 1 INTO OUTFILE 'x.csv'",
        "CREATE TABLE default.x (a String) ENGINE = File(CSV)",
        "CREATE TEMPORARY TABLE x (a String) ENGINE = File(CSV)",
        "INSERT INTO FUNCTION file('x.csv', CSV, 'a String') VALUES ('x')",
    ],
)
def test_roles_reach_no_file_and_no_server(secret_home: Path, sql: str) -> None:
    for user in ("analyst", "writer"):
        assert ask(secret_home, sql, user)[0] != http.client.OK, user


def test_files_are_written_in_their_own_folder_only(secret_home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    insert = "INSERT INTO FUNCTION file('{}', CSV, 'a String') VALUES ('x')"
    assert ask(secret_home, insert.format(outside))[0] != http.client.OK
    assert not outside.exists()
    query(secret_home, insert.format(secret_home / "clickhouse" / "files" / "inside.csv"))
    assert (secret_home / "clickhouse" / "files" / "inside.csv").read_text() == '"x"\n'


@pytest.mark.parametrize("user", [ADMIN, "analyst", "analyst_pii", "writer", "default", "nobody"])
def test_no_user_logs_in_without_the_password(secret_home: Path, user: str) -> None:
    for password in ("", "wrong"):
        assert ask(secret_home, "SELECT 1", user, password)[0] != http.client.OK
        with pytest.raises(errors.Error):
            native(secret_home, user, password).execute("SELECT 1")


def native(home: Path, user: str = ADMIN, password: str | None = None) -> Client:
    key = state.password_file(home).read_text() if password is None else password
    return Client("127.0.0.1", state_of(home).clickhouse_port, user=user, password=key)


RESET = struct.pack("ii", 1, 0)
CLIENT = """
import sys
from clickhouse_driver import Client
c = Client('127.0.0.1', int(sys.argv[1]), user='admin', password=sys.argv[2])
"""
QUERIES = {
    "select": "c.execute('SELECT number, toString(number) FROM numbers(1000000000)')",
    "insert": "while True: c.execute('INSERT INTO killed VALUES', [(n, 'x' * 100) for n in range(20000)])",
    "connect": "while True: c.execute('SELECT 1'); c.disconnect()",
}


def test_clickhouse_survives_failed_connections(secret_home: Path) -> None:
    """Failed logins, silence, noise and resets in the handshake: each of these once ended the library."""
    before = state_of(secret_home).service("clickhouse")
    address = ("127.0.0.1", state_of(secret_home).clickhouse_port)
    for _ in range(40):
        with pytest.raises(errors.Error):
            native(secret_home, "nobody", "wrong").execute("SELECT 1")
        for sent in (b"", b"\x00", os.urandom(50), b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(address) as connection:
                connection.sendall(sent)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert query(secret_home, "SELECT 1") == "1"
    assert state_of(secret_home).service("clickhouse") == before


@pytest.mark.parametrize("kind", QUERIES)
def test_clickhouse_survives_killed_clients(secret_home: Path, kind: str) -> None:
    query(secret_home, "CREATE TABLE IF NOT EXISTS killed (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    before = state_of(secret_home).service("clickhouse")
    command = [sys.executable, "-c", CLIENT + QUERIES[kind], str(state_of(secret_home).clickhouse_port)]
    for _ in range(3):
        clients = [subprocess.Popen([*command, state.password_file(secret_home).read_text()]) for _ in range(4)]
        time.sleep(1 + random.random())
        for client in clients:
            client.kill()
            client.wait()
    assert query(secret_home, "SELECT 1") == "1"
    assert state_of(secret_home).service("clickhouse") == before


def test_other_ports_replace_taken_standard_ports(home: Path) -> None:
    with contextlib.ExitStack() as held:
        for port in Ports().model_dump().values():
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
        found = stack.up(home)
    assert not set(found.ports.model_dump().values()) & set(Ports().model_dump().values())
    assert query(home, "SELECT 1") == "1"
    stack.down(home)
    assert stack.up(home).ports == found.ports


def test_kafka_keeps_its_data_when_its_port_changes(home: Path, running: Stack) -> None:
    publish(running, "moved", b"before")
    stack.down(home)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", running.kafka_port))
        taken.listen()
        moved = stack.up(home)
    assert moved.kafka_port != running.kafka_port
    eventually(lambda: consume(moved, "moved") == [b"before"])


def test_two_stacks_run_side_by_side(tmp_path: Path, shared_home: Path, shared: Stack) -> None:
    other = tmp_path / "the other höme"
    try:
        neighbour = stack.up(other)
        ours, theirs = (set(found.ports.model_dump().values()) for found in (shared, neighbour))
        assert not ours & theirs
        stack.down(other)
        assert_no_process(other, *process_ids(neighbour))
        assert query(shared_home, "SELECT 1") == "1"
    finally:
        stack.down(other)


def test_two_ups_at_once_start_one_stack(home: Path) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(touchline(home, "up"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.returncode for result in results] == [0, 0], [result.stderr for result in results]
    assert len(processes.find_supervisors(home)) == 1
    assert len(processes.find_services(home)) == 2


def test_down_leaves_no_process_and_is_harmless_twice(home: Path, running: Stack) -> None:
    ids = process_ids(running)
    assert touchline(home, "down").returncode == 0
    assert_no_process(home, *ids)
    assert state.read(home) is None
    assert touchline(home, "down").returncode == 0


@pytest.mark.parametrize("then", ["down", "up"])
def test_killed_supervisor_leaves_no_orphan(home: Path, running: Stack, then: str) -> None:
    ids = process_ids(running)
    os.kill(running.supervisor_pid, signal.SIGKILL)
    done = touchline(home, then)
    assert done.returncode == 0, done.stderr
    assert not [process for process in processes.find_services(home) if process.pid in ids]
    if then == "up":
        assert query(home, "SELECT 1") == "1"
    else:
        assert_no_process(home, *ids)


NEVER_SERVING = """#!/bin/sh
case "$*" in *kafka.Kafka*) trap 'kill $!' TERM; sleep 300 & wait ;; *) exec {java} "$@" ;; esac
"""


def test_interrupted_up_leaves_no_process(home: Path, tmp_path: Path) -> None:
    """Kafka starts and never serves, so that the interrupt always comes before `up` has finished."""
    (tmp_path / "java").write_text(NEVER_SERVING.format(java=shutil.which("java")))
    (tmp_path / "java").chmod(0o755)
    environment = {**os.environ, "TOUCHLINE_HOME": str(home), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    waiting = subprocess.Popen([TOUCHLINE, "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    with waiting:
        eventually(lambda: len(processes.find_services(home)) == 2)
        waiting.send_signal(signal.SIGINT)
        _, output = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert output.strip() == b"Aborted!"
    assert_no_process(home)


def test_removed_home_folder_ends_the_stack(home: Path, running: Stack) -> None:
    ids = process_ids(running)
    shutil.rmtree(home)
    eventually(lambda: not processes.find_supervisors(home) + processes.find_services(home))
    assert_no_process(home, *ids)


def test_damaged_state_file_is_repaired_by_down(home: Path, running: Stack) -> None:
    (home / "stack.json").write_text("{ half a fi")
    result = touchline(home, "status")
    assert result.returncode == 2
    assert "touchline down" in result.stderr
    assert "Traceback" not in result.stderr
    assert touchline(home, "down").returncode == 0
    assert_no_process(home, *process_ids(running))
    assert touchline(home, "up").returncode == 0


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(os.urandom(200))])
def test_damaged_kafka_storage_is_named_with_the_next_step(home: Path, running: Stack, damage: Callable[[Path], object]) -> None:
    stack.down(home)
    damage(home / "kafka" / "data" / "meta.properties")
    result = touchline(home, "up")
    assert result.returncode == 2
    assert f"touchline down && rm -r {home / 'kafka' / 'data'}" in result.stderr
    assert "Traceback" not in result.stderr
    assert_no_process(home)
    shutil.rmtree(home / "kafka" / "data")
    assert touchline(home, "up").returncode == 0


def test_kafka_that_ends_at_each_start_is_reported_with_its_log(home: Path, running: Stack) -> None:
    stack.down(home)
    with (home / "kafka" / "data" / "meta.properties").open("a") as properties:
        properties.write("node.id=7\n")
    result = touchline(home, "up")
    assert result.returncode == 2
    assert "Stored node id 7 doesn't match" in result.stderr
    assert f"rm -r {home / 'kafka' / 'data'}" in result.stderr
    assert_no_process(home)


def test_damaged_clickhouse_storage_is_named_with_the_next_step(home: Path, running: Stack) -> None:
    query(home, "CREATE DATABASE kept")
    stack.down(home)
    for file in (home / "clickhouse" / "data" / "metadata").glob("*.sql"):
        file.write_text("not SQL at all")
    with pytest.raises(ConfigError, match=f"rm -r {home / 'clickhouse' / 'data'}"):
        stack.up(home)
    assert_no_process(home)


def test_interrupted_download_is_not_taken_for_complete(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_TOOLS", str(home / "tools"))
    jars = next(SHARED_TOOLS.glob("kafka-*"))
    (home / "tools" / f".{jars.name}.partial").mkdir(parents=True)
    (home / "tools" / f".{jars.name}.partial" / "half.jar").write_text("half")
    fetch_tools(home)
    assert {file.name for file in (home / "tools" / jars.name).iterdir()} == {file.name for file in jars.iterdir()}


def test_broker_refuses_unknown_topics(shared: Stack) -> None:
    producer = KafkaProducer(bootstrap_servers=broker(shared), max_block_ms=1500)
    with contextlib.closing(producer), pytest.raises(KafkaError):
        producer.send("never-created", b"x").get(timeout=3)
