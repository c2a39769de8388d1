"""Certainty of a diagnosis: a server that stops at any byte of its answers never looks like a wrong setting.

A ConfigError ends a process for good, and its supervisor does not restart it.
"""

import gc
import socket
import ssl
import struct
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service import probe
from schemas.service.connection import KafkaConnection
from schemas.service.kafka_probe import diagnose_kafka
from schemas.service.kafka_requests import API_VERSIONS, METADATA, SASL_AUTHENTICATE, SASL_HANDSHAKE
from sinks import clickhouse
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.connection import ClickHouseSettings, diagnose_clickhouse
from tests.harness.tcp_server import tcp_server
from tests.harness.tls_certificates import Certificates, make_certificates
from tests.harness.tls_proxy import tls_port
from tests.harness.waiting import eventually

Answer = Callable[[bytes], bytes]  # from the bytes of one message; an empty answer closes the connection
TLS_BYTES = 6_000  # more than a server sends during a handshake
TLS_STEP = 293
RESET = struct.pack("ii", 1, 0)
PLAIN = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "ann", "sasl_password": "x"}


@pytest.fixture(autouse=True)
def _immediate_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr(clickhouse, "CONFIRM_SECONDS", 0.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "files")


@pytest.fixture
def _short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time-outs of tests whose servers keep silent."""
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(probe, "ALERT_SECONDS", 0.1)


def cut(answer: Answer, size: int, *, resets: bool) -> Callable[[socket.socket, int], None]:
    """Return a server that answers each message and closes (or resets) each connection after `size` bytes."""

    def serve(connected: socket.socket, _number: int) -> None:
        left = size
        while message := connected.recv(65_536):
            if not (reply := answer(message)[:left]):
                break
            connected.sendall(reply)
            left -= len(reply)
            if not left:
                break
        if resets:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    return serve


def broker(answers: dict[tuple[int, int], bytes]) -> Answer:
    """Return a broker that knows some requests and closes the connection at all others, as brokers do before a login."""

    def answer(message: bytes) -> bytes:
        key, version = struct.unpack_from(">hh", message, 4)
        if (key, version) not in answers:
            return b""
        body = message[8:12] + answers[key, version]
        return struct.pack(">i", len(body)) + body

    return answer


VERSIONS = struct.pack(">hi", 0, 0)
NO_BROKERS = struct.pack(">ii", 0, 0)
UNSUPPORTED = struct.pack(">hih", 33, 1, 13) + b"SCRAM-SHA-256"
ACCEPTED = struct.pack(">hih", 0, 1, 5) + b"PLAIN"
NO_SASL = struct.pack(">hi", 34, 0)
REJECTED = struct.pack(">hhi", 58, -1, 0)
LOGGED_IN = struct.pack(">hhi", 0, -1, 0)
HEADER = 8


def diagnose(answers: dict[tuple[int, int], bytes], size: int, *, resets: bool, **settings: Any) -> TouchlineError | None:
    with tcp_server(cut(broker(answers), size, resets=resets)) as port:
        return diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}", **settings))


GOOD: list[tuple[dict[tuple[int, int], bytes], dict[str, Any]]] = [
    ({API_VERSIONS: VERSIONS, METADATA: NO_BROKERS}, {}),
    ({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: ACCEPTED, SASL_AUTHENTICATE: LOGGED_IN, METADATA: NO_BROKERS}, PLAIN),
]


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("answers", "settings"), GOOD, ids=["no login", "login"])
def test_broker_that_stops_at_any_byte_is_not_a_wrong_setting(
    answers: dict[tuple[int, int], bytes], settings: dict[str, Any], *, resets: bool
) -> None:
    whole = sum(HEADER + len(answer) for answer in answers.values())
    for size in range(whole):
        assert isinstance(diagnose(answers, size, resets=resets, **settings), RetryableError), size
    assert diagnose(answers, whole, resets=False, **settings) is None


WRONG: dict[str, tuple[dict[tuple[int, int], bytes], dict[str, Any], int, str]] = {
    "requires a login": ({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: UNSUPPORTED}, {}, HEADER + len(UNSUPPORTED),
                         "requires a login"),
    "other mechanism": ({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: UNSUPPORTED}, PLAIN,
                        2 * HEADER + len(VERSIONS + UNSUPPORTED), "does not offer PLAIN but SCRAM-SHA-256"),
    "no login offered": ({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: NO_SASL}, PLAIN,
                         2 * HEADER + len(VERSIONS) + 2, "offers no login"),
    "rejected": ({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: ACCEPTED, SASL_AUTHENTICATE: REJECTED}, PLAIN,
                 3 * HEADER + len(VERSIONS + ACCEPTED) + 2, "rejects user or password"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_setting_needs_the_whole_answer(name: str) -> None:
    answers, settings, needed, text = WRONG[name]
    whole = sum(HEADER + len(answer) for answer in answers.values())
    for size in range(whole):
        problem = diagnose(answers, size, resets=False, **settings)
        assert not isinstance(problem, ConfigError) or size >= needed, (size, problem)
    problem = diagnose(answers, whole, resets=False, **settings)
    assert isinstance(problem, ConfigError)
    assert text in str(problem)


@pytest.mark.parametrize("code", [-1, 7, 15, 35])
@pytest.mark.parametrize("request_", [SASL_HANDSHAKE, SASL_AUTHENTICATE], ids=["handshake", "login"])
def test_other_error_codes_of_a_login_are_not_wrong_settings(request_: tuple[int, int], code: int) -> None:
    answers = {API_VERSIONS: VERSIONS, SASL_HANDSHAKE: ACCEPTED, request_: struct.pack(">hhi", code, -1, 0)}
    assert isinstance(diagnose(answers, 1_000, resets=False, **PLAIN), RetryableError)


def test_wrong_setting_that_a_second_probe_does_not_find_is_none() -> None:
    rejecting = broker({API_VERSIONS: VERSIONS, SASL_HANDSHAKE: ACCEPTED, SASL_AUTHENTICATE: REJECTED})
    accepting = broker({**GOOD[1][0]})

    def serve(connected: socket.socket, number: int) -> None:
        cut(rejecting if number == 0 else accepting, 1_000, resets=False)(connected, number)

    with tcp_server(serve) as port:
        assert diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}", **PLAIN)) is None


def test_wrong_setting_counts_only_where_each_address_has_one() -> None:
    answers = {API_VERSIONS: VERSIONS, SASL_HANDSHAKE: UNSUPPORTED}
    with tcp_server(cut(broker(answers), 1_000, resets=False)) as port:
        problem = diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port},127.0.0.1:1", **PLAIN))
    assert isinstance(problem, RetryableError)
    assert "does not offer PLAIN" in str(problem)


@pytest.mark.usefixtures("_short_probes")
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x01", b"\x00\x00", b"\xff"])
def test_server_that_ends_a_tls_handshake_is_not_a_wrong_setting(answer: bytes, *, resets: bool) -> None:
    """A load balancer in front of a dead broker accepts connections and closes them."""
    with tcp_server(cut(lambda message: answer if message[0] == 0x16 else b"", 1_000, resets=resets)) as port:
        assert isinstance(
            diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}", security_protocol="SSL")), RetryableError
        )
        assert isinstance(diagnose_clickhouse(ClickHouseSettings(host="127.0.0.1", port=port, secure=True)), RetryableError)


@pytest.mark.usefixtures("_short_probes")
def test_server_that_stops_at_any_byte_of_tls_is_not_a_wrong_setting(certificates: Certificates) -> None:
    secure = {"security_protocol": "SSL", "ssl_cafile": str(certificates.ca)}
    with (
        tcp_server(cut(broker(GOOD[0][0]), 1_000, resets=False)) as plain,
        tls_port(plain, certificates, requires_client=False) as tls,
    ):
        for size in range(0, TLS_BYTES, TLS_STEP):
            with tcp_server(lambda connected, _number, size=size: forward(connected, tls, size)) as port:  # type: ignore[misc]
                problem = diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}", **secure))
                assert problem is None or isinstance(problem, RetryableError), (size, problem)
                found = diagnose_clickhouse(
                    ClickHouseSettings(host="127.0.0.1", port=port, secure=True, ssl_cafile=str(certificates.ca))
                )
                assert found is None or isinstance(found, RetryableError), (size, found)


def forward(connected: socket.socket, port: int, size: int) -> None:
    """Forward to `port` and close after `size` bytes of its answers."""
    with socket.create_connection(("127.0.0.1", port)) as target:
        target.settimeout(0.01)
        connected.settimeout(0.01)
        idle = 0
        while size and idle < 40:
            idle += 1
            with suppress(TimeoutError):
                if not (sent := connected.recv(65_536)):
                    return
                target.sendall(sent)
                idle = 0
            with suppress(TimeoutError):
                if not (received := target.recv(min(size, 65_536))):
                    return
                connected.sendall(received)
                size -= len(received)
                idle = 0


def test_unreachable_token_provider_is_not_a_wrong_setting(tmp_path: Path) -> None:
    token = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
    answers = {API_VERSIONS: VERSIONS, SASL_HANDSHAKE: ACCEPTED, SASL_AUTHENTICATE: REJECTED}
    for command, kind in (("false", RetryableError), ("echo token", RetryableError), (str(tmp_path / "none"), ConfigError)):
        assert isinstance(diagnose(answers, 1_000, resets=False, sasl_token_command=command, **token), kind)


def exception_packet(code: int) -> bytes:
    """Return an exception of ClickHouse's native protocol."""
    texts = (b"DB::Exception", b"DB::Exception: default: Authentication failed", b"")
    return b"\x02" + struct.pack("<i", code) + b"".join(bytes([len(text)]) + text for text in texts) + b"\x00"


@pytest.mark.parametrize("code", [192, 193, 516])
def test_rejected_login_of_clickhouse_counts_only_twice(code: int) -> None:
    packet = exception_packet(code)
    with tcp_server(cut(lambda _message: packet, 1_000, resets=False)) as port, pytest.raises(ConfigError, match="rejects user"):
        ClickHouse(ClickHouseSettings(host="127.0.0.1", port=port)).query("SELECT 1")

    def serve(connected: socket.socket, number: int) -> None:
        if number == 0:
            cut(lambda _message: packet, 1_000, resets=False)(connected, number)

    with tcp_server(serve) as port, pytest.raises(UnavailableError, match="rejects user"):
        ClickHouse(ClickHouseSettings(host="127.0.0.1", port=port)).query("SELECT 1")


def test_clickhouse_that_stops_at_any_byte_is_not_a_wrong_setting() -> None:
    packet = exception_packet(516)
    for size in range(len(packet)):
        with tcp_server(cut(lambda _message: packet, size, resets=False)) as port, pytest.raises(UnavailableError):
            ClickHouse(ClickHouseSettings(host="127.0.0.1", port=port)).query("SELECT 1")


def test_each_confirmation_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(probe, "CONFIRM_SECONDS", 1.0)
    monkeypatch.setattr(time, "sleep", waits.append)
    assert isinstance(probe.confirm(lambda: ConfigError("wrong")), ConfigError)
    assert waits == [1.0]


def test_reset_before_the_handshake_leaves_no_open_socket() -> None:
    def reset(connected: socket.socket, _number: int) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with tcp_server(reset) as port, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = socket.create_connection(("127.0.0.1", port))
        eventually(lambda: not _is_connected(plain))
        with pytest.raises(OSError, match=r"."):
            probe.start_tls(context, plain, "localhost")
        gc.collect()
    assert not [each for each in caught if issubclass(each.category, ResourceWarning)]


def _is_connected(plain: socket.socket) -> bool:
    try:
        plain.getpeername()
    except OSError:
        return False
    return True
