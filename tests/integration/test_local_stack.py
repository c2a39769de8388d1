"""The local stack itself: started, killed, damaged and stopped for real, in home folders of its own."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from deploy.local import health, processes, stack, state
from deploy.local.health import State
from deploy.local.ports import Ports
from deploy.local.state import Stack
from deploy.local.tools import fetch_tools
from schemas.errors import ConfigError
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


def query(running: Stack, sql: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", running.clickhouse_http_port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", "/", body=sql.encode())
        response = connection.getresponse()
        body = response.read().decode().strip()
        assert response.status == http.client.OK, body
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
    assert processes.supervisors(home) + processes.services(home) == []
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


def test_status_tells_programs_what_runs(home: Path, running: Stack) -> None:
    told = touchline(home, "status", "--json")
    assert told.returncode == 0
    services = json.loads(told.stdout)["services"]
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
    query(shared, "CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
    query(shared, "INSERT INTO kept SELECT number FROM numbers(1000)")
    print(f"ClickHouse back after {back_after_kill(shared_home, 'clickhouse'):.1f} s")  # noqa: T201 a measurement
    assert query(shared, "SELECT count(), sum(n) FROM kept") == "1000\t499500"
    assert state_of(shared_home).ports == shared.ports


def test_killed_kafka_comes_back_with_its_data(shared_home: Path, shared: Stack) -> None:
    publish(shared, "kept", b"first")
    print(f"Kafka back after {back_after_kill(shared_home, 'kafka'):.1f} s")  # noqa: T201 a measurement
    assert consume(shared, "kept") == [b"first"]
    assert state_of(shared_home).ports == shared.ports


def test_kafka_carries_the_largest_dead_letter(shared: Stack) -> None:
    publish(shared, "large", os.urandom(MAX_RECORD))
    assert [len(value) for value in consume(shared, "large")] == [MAX_RECORD]


def test_clickhouse_settings_took_effect(shared: Stack) -> None:
    changed = query(shared, "SELECT name, value FROM system.server_settings WHERE changed ORDER BY name FORMAT TSV")
    told = dict(line.split("\t") for line in changed.splitlines())
    assert told["max_server_memory_usage"] == str(4 * 2**30)
    assert told["mark_cache_size"] == str(128 * 2**20)
    assert told["index_mark_cache_size"] == str(64 * 2**20)
    assert told["uncompressed_cache_size"] == "0"


def test_taken_standard_ports_give_way_to_others(home: Path) -> None:
    with contextlib.ExitStack() as held:
        for port in Ports().model_dump().values():
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
        found = stack.up(home)
    assert not set(found.ports.model_dump().values()) & set(Ports().model_dump().values())
    assert query(found, "SELECT 1") == "1"
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
    assert consume(moved, "moved") == [b"before"]


def test_two_stacks_run_side_by_side(tmp_path: Path, shared: Stack) -> None:
    other = tmp_path / "the other höme"
    try:
        neighbour = stack.up(other)
        ours, theirs = (set(found.ports.model_dump().values()) for found in (shared, neighbour))
        assert not ours & theirs
        stack.down(other)
        assert_no_process(other, *process_ids(neighbour))
        assert query(shared, "SELECT 1") == "1"
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
    assert len(processes.supervisors(home)) == 1
    assert len(processes.services(home)) == 2


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
    assert not [process for process in processes.services(home) if process.pid in ids]
    if then == "up":
        assert query(state_of(home), "SELECT 1") == "1"
    else:
        assert_no_process(home, *ids)


def test_interrupted_up_leaves_no_process(home: Path) -> None:
    environment = {**os.environ, "TOUCHLINE_HOME": str(home)}
    waiting = subprocess.Popen([TOUCHLINE, "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    with waiting:
        eventually(lambda: bool(processes.services(home)))
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert said.strip() == b"Aborted!"
    assert_no_process(home)


def test_removed_home_folder_ends_the_stack(home: Path, running: Stack) -> None:
    ids = process_ids(running)
    shutil.rmtree(home)
    eventually(lambda: not processes.supervisors(home) + processes.services(home))
    assert_no_process(home, *ids)


def test_damaged_state_file_is_repaired_by_down(home: Path, running: Stack) -> None:
    (home / "stack.json").write_text("{ half a fi")
    told = touchline(home, "status")
    assert told.returncode == 2
    assert "touchline down" in told.stderr
    assert "Traceback" not in told.stderr
    assert touchline(home, "down").returncode == 0
    assert_no_process(home, *process_ids(running))
    assert touchline(home, "up").returncode == 0


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(os.urandom(200))])
def test_damaged_kafka_storage_is_named_with_the_next_step(home: Path, running: Stack, damage: Callable[[Path], object]) -> None:
    stack.down(home)
    damage(home / "kafka" / "data" / "meta.properties")
    told = touchline(home, "up")
    assert told.returncode == 2
    assert f"touchline down && rm -r {home / 'kafka' / 'data'}" in told.stderr
    assert "Traceback" not in told.stderr
    assert_no_process(home)
    shutil.rmtree(home / "kafka" / "data")
    assert touchline(home, "up").returncode == 0


def test_kafka_that_ends_at_each_start_is_told_with_its_last_words(home: Path, running: Stack) -> None:
    stack.down(home)
    with (home / "kafka" / "data" / "meta.properties").open("a") as properties:
        properties.write("node.id=7\n")
    told = touchline(home, "up")
    assert told.returncode == 2
    assert "Stored node id 7 doesn't match" in told.stderr
    assert f"rm -r {home / 'kafka' / 'data'}" in told.stderr
    assert_no_process(home)


def test_damaged_clickhouse_storage_is_named_with_the_next_step(home: Path, running: Stack) -> None:
    query(running, "CREATE DATABASE kept")
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
