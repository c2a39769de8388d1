"""Diagnosis of a broker that advertises unusable addresses, and the login by SCRAM."""

import secrets
import socket
import struct
from contextlib import AbstractContextManager

import pytest
from kafka.net.sasl.scram import ScramClient

from schemas.errors import RetryableError
from schemas.service import kafka_probe
from schemas.service.connection import KafkaConnection
from schemas.service.kafka_probe import diagnose_kafka
from schemas.service.kafka_requests import API_VERSIONS, METADATA
from tests.harness.tcp_server import tcp_server


def broker(advertised: list[tuple[str, int]], rack: bytes | None) -> AbstractContextManager[int]:
    """Run a broker that answers two requests, API versions and metadata; port 0 stands for its own port."""

    def answer(api: tuple[int, int], own: int) -> bytes:
        if api == API_VERSIONS:
            return struct.pack(">hi", 0, 0)
        assert api == METADATA
        rows = [
            struct.pack(f">ih{len(host)}sih", 1, len(host), host.encode(), port or own, -1 if rack is None else len(rack))
            + (rack or b"")
            for host, port in advertised
        ]
        return struct.pack(">ii", 0, len(rows)) + b"".join(rows)

    def serve(connected: socket.socket, _number: int) -> None:
        while size := connected.recv(4):
            request = connected.recv(struct.unpack(">i", size)[0])
            body = request[4:8] + answer(struct.unpack_from(">hh", request), connected.getsockname()[1])
            connected.sendall(struct.pack(">i", len(body)) + body)

    return tcp_server(serve)


@pytest.mark.parametrize("rack", [None, b"", b"zone-1"])
def test_reachable_brokers_are_no_problem(rack: bytes | None) -> None:
    with broker([("127.0.0.1", 0), ("localhost", 0)], rack) as port:
        assert diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}")) is None


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("broker.invalid", 9092)])
def test_unreachable_broker_is_named(address: tuple[str, int]) -> None:
    with broker([("127.0.0.1", 0), address], b"zone-1") as port:
        problem = diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:{port}"))
    assert isinstance(problem, RetryableError)
    assert f"advertises a broker at {address[0]}:{address[1]} that cannot be reached" in str(problem)


def test_one_usable_address_is_enough() -> None:
    with broker([("127.0.0.1", 0)], None) as port:
        assert diagnose_kafka(KafkaConnection(bootstrap_servers=f"127.0.0.1:1,127.0.0.1:{port}")) is None


@pytest.mark.parametrize(("mechanism", "name"), [("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-512", "sha512")])
def test_scram_messages_equal_those_of_kafka_python(monkeypatch: pytest.MonkeyPatch, mechanism: str, name: str) -> None:
    reference = ScramClient("ann", "password", mechanism)
    monkeypatch.setattr(secrets, "token_hex", lambda _size: reference.nonce.decode())
    challenge = f"r={reference.nonce.decode()}server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
    sent: list[bytes] = []

    def exchange(message: bytes) -> bytes:
        sent.append(message)
        return challenge

    kafka_probe._scram(name, "ann", "password", exchange)
    expected = [reference.first_message()]
    reference.process_server_first_message(challenge)
    assert sent == [*expected, reference.final_message()]
