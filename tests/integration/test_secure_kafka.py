"""A broker with TLS and logins: all clients reach it in each way, and each wrong setting has its own error."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from kafka import KafkaAdminClient

from deploy.topics import ensure_topics
from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.connection import KafkaConnection, KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from streams.engine.worker import faust_credentials
from tests.harness.secure_kafka import PASSWORD, USER, SecureKafka, make_token, running_secure_kafka
from tests.harness.tcp_server import tcp_server
from tests.harness.tls_certificates import KEY_PASSWORD

pytestmark = pytest.mark.integration
LOGIN = {"security_protocol": "SASL_SSL", "sasl_username": USER, "sasl_password": PASSWORD}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with running_secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def ways(kafka: SecureKafka) -> dict[str, dict[str, Any]]:
    """Return the settings of each way to this broker."""
    files = kafka.certificates
    ca = {"ssl_cafile": str(files.ca)}
    login = {"port": kafka.login, **ca, **LOGIN}
    mutual = {"port": kafka.mutual, "security_protocol": "SSL", **ca}
    token = {"sasl_mechanism": "OAUTHBEARER", "sasl_token_command": f"echo {make_token()}"}
    encrypted = {"ssl_certfile": str(files.client_certificate), "ssl_keyfile": str(files.client_encrypted_key)}
    return {
        "plaintext": {"port": kafka.plain},
        "scram-sha-512": {**login, "sasl_mechanism": "SCRAM-SHA-512"},
        "scram-sha-256": {**login, "sasl_mechanism": "SCRAM-SHA-256"},
        "plain": {**login, "sasl_mechanism": "PLAIN"},
        "mutual": {**mutual, "ssl_certfile": str(files.client)},
        "mutual, encrypted key": {**mutual, **encrypted, "ssl_password": KEY_PASSWORD},
        "token": {"port": kafka.token, "security_protocol": "SASL_PLAINTEXT", **token},
    }


def connection(port: int, host: str = "127.0.0.1", **settings: Any) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers=f"{host}:{port}", **settings)


@pytest.mark.parametrize(
    "way", ["plaintext", "scram-sha-512", "scram-sha-256", "plain", "mutual", "mutual, encrypted key", "token"]
)
def test_every_client_connects(kafka: SecureKafka, way: str) -> None:
    settings = connection(**ways(kafka)[way])
    assert diagnose_kafka(settings) is None
    admin = KafkaAdminClient(**settings.kafka_python(), bootstrap_timeout_ms=5_000)
    assert admin.describe_cluster()["brokers"]
    admin.close()
    app = faust.App("test", broker="kafka://", broker_credentials=faust_credentials(settings))
    for arguments in (settings.aiokafka(), credentials_to_aiokafka_auth(app.conf.broker_credentials)):
        asyncio.run(list_topics({"bootstrap_servers": settings.bootstrap_servers, **arguments}))


async def list_topics(arguments: dict[str, Any]) -> None:
    consumer = AIOKafkaConsumer(**arguments)
    await consumer.start()
    try:
        await consumer.topics()
    finally:
        await consumer.stop()


WRONG: dict[str, tuple[str, dict[str, Any], type[TouchlineError], str]] = {
    "wrong CA": ("plain", {"ssl_cafile": "other_ca"}, ConfigError, "set ssl_cafile to the file of the CA that signed it"),
    "no CA": ("plain", {"ssl_cafile": None}, ConfigError, "the system's CA store does not vouch .* set ssl_cafile"),
    "wrong host": ("plain", {"host": "127.1"}, ConfigError, "for another host name: correct bootstrap_servers, or set ssl_c"),
    "wrong password": ("plain", {"sasl_password": "x"}, ConfigError, "rejects user or password: correct .* or sasl_password"),
    "wrong user": ("scram-sha-512", {"sasl_username": "x"}, ConfigError, "rejects user or password: correct sasl_username"),
    "SCRAM password": ("scram-sha-256", {"sasl_password": "x"}, ConfigError, "rejects user or password"),
    "other mechanism": ("token", {"sasl_mechanism": "PLAIN", **LOGIN, "security_protocol": "SASL_PLAINTEXT"}, ConfigError,
                        "does not offer PLAIN but OAUTHBEARER: set sasl_mechanism"),
    "TLS at a plaintext port": ("plain", {"port": "plain"}, ConfigError, "not speak TLS: set security_protocol"),
    "plaintext at a TLS port": ("plaintext", {"port": "login"}, ConfigError, "expects TLS: set security_protocol to SSL or SASL"),
    "plaintext at a mutual port": ("plaintext", {"port": "mutual"}, ConfigError, "expects TLS"),
    "no login": ("mutual", {"port": "login"}, ConfigError, "requires a login: set security_protocol to SASL_SSL"),
    "no login, no TLS": ("plaintext", {"port": "token"}, ConfigError, "requires a login: set .* to SASL_PLAINTEXT"),
    "login not offered": ("plain", {"port": "plain", "security_protocol": "SASL_PLAINTEXT"}, ConfigError,
                          "offers no login: set security_protocol to PLAINTEXT"),
    "no client certificate": ("mutual", {"ssl_certfile": None}, ConfigError, "requires a client certificate: set ssl_certfile"),
    "other client certificate": ("mutual", {"ssl_certfile": "other_client"}, ConfigError, "rejects the client certificate"),
    "wrong key password": ("mutual, encrypted key", {"ssl_password": "x"}, ConfigError, "^ssl_password does not decrypt"),
    "no key password": ("mutual, encrypted key", {"ssl_password": ""}, ConfigError, "^ssl_password does not decrypt"),
    "key of another certificate": ("mutual", {"ssl_keyfile": "other_client"}, ConfigError, "does not belong to the certificate"),
    "expired token": ("token", {"sasl_token_command": "echo x.e30."}, RetryableError, "rejects the token: correct sasl_token"),
    "failing command": ("token", {"sasl_token_command": "false"}, RetryableError, "^sasl_token_command: the command ended"),
    "missing command": ("token", {"sasl_token_command": "/nowhere/token"}, ConfigError, "^sasl_token_command: .* cannot be run"),
    "missing CA file": ("plain", {"ssl_cafile": "/nowhere/ca.pem"}, ConfigError, "^ssl_cafile: cannot read /nowhere/ca.pem"),
    "nobody listening": ("plaintext", {"port": 1}, RetryableError, "no server listens there: .*correct bootstrap_servers"),
    "unknown host": ("plaintext", {"host": "broker.invalid"}, RetryableError, "host name is unknown: correct bootstrap_servers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_setting_has_its_own_error(kafka: SecureKafka, name: str) -> None:
    way, changes, kind, text = WRONG[name]
    files = {field: str(path) for field, path in kafka.certificates._asdict().items()}
    named = {**files, **{field: getattr(kafka, field) for field in ("plain", "login", "mutual", "token")}}
    changes = {field: named.get(value, value) if isinstance(value, str) else value for field, value in changes.items()}
    problem = diagnose_kafka(connection(**{**ways(kafka)[way], **changes}))
    assert isinstance(problem, kind)
    with pytest.raises(kind, match=text):
        raise problem


def test_token_command_that_fails_is_waited_for(kafka: SecureKafka) -> None:
    settings = {**ways(kafka)["token"], "sasl_token_command": "false"}
    port = settings.pop("port")
    with pytest.raises(RetryableError, match="SASL_TOKEN_COMMAND: the command ended with exit code 1"):
        ensure_topics(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", **settings), dry_run=True)


def test_a_server_of_another_protocol_is_named(kafka: SecureKafka) -> None:
    def answer_http(connected: socket.socket, _number: int) -> None:
        connected.recv(1_000)
        connected.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with tcp_server(answer_http) as port:
        problem = diagnose_kafka(connection(port))
    assert isinstance(problem, RetryableError)
    assert "does not answer as a Kafka broker does: correct bootstrap_servers" in str(problem)
