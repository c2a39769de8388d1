"""The whole line over TLS and logins: connect, work and sink on a secured Kafka and a ClickHouse with TLS."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from deploy.local.state import Stack
from sinks.clickhouse import ClickHouse
from sinks.connection import ENV_PREFIX
from tests.harness.connectors import write_orders, write_settings
from tests.harness.secure_kafka import PASSWORD, USER, SecureKafka, running_secure_kafka
from tests.harness.stack import TOUCHLINE
from tests.harness.tls_proxy import tls_port
from tests.harness.waiting import eventually
from tests.harness.workers import is_drained, running_worker

pytestmark = pytest.mark.integration


class Secured(NamedTuple):
    """Secured Kafka, and two TLS ports of ClickHouse, one of which requires a client certificate."""

    kafka: SecureKafka
    clickhouse: int
    clickhouse_mutual: int


@pytest.fixture(scope="module")
def secured(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    port = own_stack.clickhouse_port
    with (
        running_secure_kafka(tmp_path_factory.mktemp("secure")) as kafka,
        tls_port(port, kafka.certificates, requires_client=False) as open_port,
        tls_port(port, kafka.certificates, requires_client=True) as mutual_port,
    ):
        yield Secured(kafka, open_port, mutual_port)


def environment(secured: Secured, way: str) -> dict[str, str]:
    """Return the settings of one way to both services."""
    files = secured.kafka.certificates
    port = secured.kafka.mutual if way == "mutual tls" else secured.kafka.login
    login = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": USER, "SASL_PASSWORD": PASSWORD}
    both = {"SSL_CAFILE": str(files.ca)}
    kafka = {"BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
    clickhouse = {"PORT": str(secured.clickhouse), "SECURE": "true"}
    if way == "mutual tls":
        both["SSL_CERTFILE"] = str(files.client)
        clickhouse["PORT"] = str(secured.clickhouse_mutual)
        kafka["SECURITY_PROTOCOL"] = "SSL"
    elif way == "ca file and scram":
        kafka |= {**login, "SASL_MECHANISM": "SCRAM-SHA-512"}
    else:
        kafka |= {**login, "SASL_MECHANISM": "PLAIN"}
        both = {}
    settings = {f"TOUCHLINE_KAFKA_{name}": value for name, value in (both | kafka).items()}
    settings |= {f"{ENV_PREFIX}{name}": value for name, value in (both | clickhouse).items()}
    return settings if both else {**settings, "SSL_CERT_FILE": str(files.ca)}


@pytest.fixture(params=["ca file and scram", "mutual tls", "system store and plain"])
def way(secured: Secured, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment(secured, request.param).items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def touchline(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, timeout=90, check=False)


def test_orders_reach_clickhouse(way: str, tmp_path: Path) -> None:
    name = f"secure-{uuid4().hex[:8]}"
    settings = write_settings(tmp_path, name)
    good, bad, _ = write_orders(tmp_path / "drops" / "orders.csv", 1, 150)
    for arguments in (["migrate"], ["connect", "files", "--settings", str(settings), "--once"]):
        ended = touchline(*arguments)
        assert ended.returncode == 0, ended.stderr
    with running_worker(name, tmp_path / "log"):
        eventually(is_drained, 60)
    ended = touchline("sink", "touchpoints", "dead_letters", "--until-idle", "1")
    assert ended.returncode == 0, ended.stderr
    client = ClickHouse()
    for table, count in (("touchpoints", good), ("dead_letters", bad)):
        found = client.query(f"SELECT count() FROM touchline.{table} WHERE connector = {{name:String}}", {"name": name})
        assert found.rows == [(count,)]
    client.close()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"SASL_PASSWORD": "x"}, "rejects user or password: correct TOUCHLINE_KAFKA_SASL_USERNAME or TOUCHLINE_KAFKA_SASL_PASS"),
        ({"SSL_CAFILE": "/nowhere"}, "TOUCHLINE_KAFKA_SSL_CAFILE: cannot read /nowhere: No such file or directory"),
    ],
    ids=["wrong password", "missing CA file"],
)
@pytest.mark.parametrize("command", ["migrate", "connect", "work", "sink", "tick"])
def test_every_command_ends_with_the_setting_to_change(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, changes: dict[str, str], text: str
) -> None:
    kafka = {f"TOUCHLINE_KAFKA_{name}": value for name, value in changes.items()}
    for name, value in {**environment(secured, "ca file and scram"), **kafka}.items():
        monkeypatch.setenv(name, value)
    options = {"connect": ["files", "--settings", str(write_settings(tmp_path, "wrong")), "--once"], "work": ["--no-restart"]}
    ended = touchline(command, *options.get(command, ["touchpoints", "--until-idle", "1"] if command == "sink" else []))
    assert ended.returncode == 2, ended.stderr
    assert text in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
