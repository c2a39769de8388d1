"""Diagnosis of a failed connection, second part: the first requests of the Kafka protocol, up to the login.

The probe sends the requests itself (`kafka_requests.py`): the clients retry and log, and the probe needs exactly one answer.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.connection import KafkaConnection, parse_addresses
from schemas.service.kafka_requests import (
    API_VERSIONS,
    AUTHENTICATION_FAILED,
    ILLEGAL_SASL_STATE,
    METADATA,
    METADATA_OF_NO_TOPIC,
    PROTOCOL_ERRORS,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    UNSUPPORTED_MECHANISM,
    ask,
    ask_sasl,
    make_mechanism,
    make_request,
    read_auth_bytes,
    read_brokers,
    read_strings,
)
from schemas.service.probe import Server, confirm, open_socket, open_tls, raise_for_alert, speaks_tls
from schemas.service.tokens import TokenCommandError, TokenError, token_command

NO_MECHANISM = "NONE"
SCRAM_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


def diagnose_kafka(kafka: KafkaConnection) -> TouchlineError | None:
    """Return why no broker of the cluster can be used, as an error that names the setting to change; None where one can be.

    Call it after a client failed. It takes up to some seconds for each address.
    """
    try:
        kafka.check()
    except ConfigError as error:
        return error
    return confirm(lambda: _probe(kafka))


def _probe(kafka: KafkaConnection) -> TouchlineError | None:
    """Return the problem of the cluster: a ConfigError only where each address has one, because one good address is enough."""
    problems: list[TouchlineError] = []
    for host, port in parse_addresses(kafka.bootstrap_servers):
        try:
            _log_in(kafka, _server(kafka, host, port))
        except TouchlineError as error:
            problems.append(error)
        else:
            return None
    wrong = [problem for problem in problems if isinstance(problem, ConfigError)]
    if wrong and len(wrong) < len(problems):
        return RetryableError(str(wrong[0]))
    return problems[0]


def _server(kafka: KafkaConnection, host: str, port: int) -> Server:
    protocol = kafka.setting("security_protocol")
    return Server(
        product="Kafka",
        host=host,
        port=port,
        tls=kafka,
        address_hint=f"correct {kafka.setting('bootstrap_servers')}",
        tls_hint=f"set {protocol} to {'SASL_SSL' if kafka.is_sasl else 'SSL or SASL_SSL'}",
        no_tls_hint=f"set {protocol} to {'SASL_PLAINTEXT' if kafka.is_sasl else 'PLAINTEXT'}, or use the broker's TLS port",
        greeting=make_request(API_VERSIONS, b""),
        greeting_answer=b"\0",  # of the answer's size, which is small
        start_hint="start a local one with `touchline up`, or " if host in ("127.0.0.1", "localhost") else "",
    )


def _log_in(kafka: KafkaConnection, server: Server) -> None:
    """Go through the steps of a client, one after the other; each raises the error of its own setting."""
    connection = open_tls(server) if kafka.is_tls else open_socket(server)
    with connection:
        try:
            ask(connection, API_VERSIONS, b"")
        except PROTOCOL_ERRORS as error:
            _raise_for_first_request(server, error, is_tls=kafka.is_tls)
        try:
            if kafka.is_sasl:
                _choose_mechanism(kafka, server, connection)
                _authenticate(kafka, server, connection)
            brokers = read_brokers(ask(connection, METADATA, METADATA_OF_NO_TOPIC))
        except TimeoutError:
            raise RetryableError(f"{server} stopped to answer during the login: look into the broker's log") from None
        except PROTOCOL_ERRORS as error:
            if kafka.is_sasl:
                raise RetryableError(f"{server} hangs up during the login: look into the broker's log") from error
            if not _offers_login(kafka, server):
                raise RetryableError(f"{server} hangs up after the first request: look into the broker's log") from None
            text = f"{server} requires a login: set {kafka.setting('security_protocol')} to"
            raise ConfigError(f"{text} {'SASL_SSL' if kafka.is_tls else 'SASL_PLAINTEXT'}") from None
    _reach(server, brokers)


def _offers_login(kafka: KafkaConnection, server: Server) -> bool:
    """Return whether the broker lists login mechanisms: a listener without a login lists none."""
    with open_tls(server) if kafka.is_tls else open_socket(server) as connection:
        try:
            answer = ask_sasl(connection, SASL_HANDSHAKE, make_mechanism(NO_MECHANISM))
            return answer.code == UNSUPPORTED_MECHANISM and bool(read_strings(answer.rest))
        except PROTOCOL_ERRORS:
            return False


def _reach(server: Server, brokers: list[tuple[str, int]]) -> None:
    """Raise RetryableError for a broker that clients cannot reach: they use the addresses that the cluster advertises."""
    for host, port in brokers:
        if (host, port) != (server.host, server.port):
            try:
                open_socket(replace(server, host=host, port=port)).close()
            except RetryableError:
                text = f"{server} advertises a broker at {host}:{port} that cannot be reached"
                raise RetryableError(f"{text}: start it, or correct its advertised.listeners") from None


def _raise_for_first_request(server: Server, error: Exception, *, is_tls: bool) -> NoReturn:
    """Raise for a broker that does not answer the first request."""
    if isinstance(error, ssl.SSLError):
        raise_for_alert(server, error)
    if not is_tls and speaks_tls(server):
        raise ConfigError(f"{server} expects TLS: {server.tls_hint}") from None
    raise RetryableError(f"{server} does not answer as a Kafka broker does: {server.address_hint}") from None


def _choose_mechanism(kafka: KafkaConnection, server: Server, connection: socket.socket) -> None:
    mechanism = str(kafka.sasl_mechanism)
    answer = ask_sasl(connection, SASL_HANDSHAKE, make_mechanism(mechanism))
    if answer.code == UNSUPPORTED_MECHANISM:
        offered = ", ".join(read_strings(answer.rest))
        setting = kafka.setting("sasl_mechanism")
        raise ConfigError(f"{server} does not offer {mechanism} but {offered}: set {setting} to one that it offers")
    if answer.code == ILLEGAL_SASL_STATE:
        protocol = "SSL" if kafka.is_tls else "PLAINTEXT"
        raise ConfigError(f"{server} offers no login: set {kafka.setting('security_protocol')} to {protocol}")
    if answer.code:
        raise RetryableError(f"{server} ends the login with error {answer.code}: look into the broker's log")


def _authenticate(kafka: KafkaConnection, server: Server, connection: socket.socket) -> None:
    def exchange(message: bytes) -> bytes:
        answer = ask_sasl(connection, SASL_AUTHENTICATE, struct.pack(">i", len(message)) + message)
        if answer.code == AUTHENTICATION_FAILED:
            raise kind(f"{server} rejects {rejected}")
        if answer.code:
            raise RetryableError(f"{server} ends the login with error {answer.code}: look into the broker's log")
        return read_auth_bytes(answer.rest)

    # A token comes from an identity provider, and the broker asks one to check it: either may be away for a moment.
    kind: type[TouchlineError] = RetryableError if kafka.sasl_mechanism == "OAUTHBEARER" else ConfigError
    user, command = kafka.sasl_username or "", kafka.sasl_token_command or ""
    if kafka.sasl_mechanism == "OAUTHBEARER":
        setting = kafka.setting("sasl_token_command")
        rejected = f"the token: correct {setting}"
        try:
            token = token_command(command).fetch()
        except TokenCommandError as error:
            raise ConfigError(f"{setting}: {error}") from None
        except TokenError as error:
            raise RetryableError(f"{setting}: {error}") from None
        if exchange(f"n,,\x01auth=Bearer {token}\x01\x01".encode()):
            raise kind(f"{server} rejects {rejected}")  # the broker's reason, a JSON text, instead of nothing
        return
    rejected = f"user or password: correct {kafka.setting('sasl_username')} or {kafka.setting('sasl_password')}"
    if kafka.sasl_mechanism == "PLAIN":
        exchange(f"\0{user}\0{kafka.password}".encode())
    else:
        _scram(SCRAM_HASHES[str(kafka.sasl_mechanism)], user, kafka.password, exchange)


def _scram(name: str, user: str, password: str, exchange: Callable[[bytes], bytes]) -> None:
    """Log in by SCRAM (RFC 5802) without a channel binding. The server's own signature is the clients' business."""
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    first = f"n={escaped},r={secrets.token_hex(16)}"
    challenge = exchange(f"n,,{first}".encode()).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", name)
    last = f"c=biws,r={fields['r']}"
    signature = hmac.digest(hashlib.new(name, key).digest(), f"{first},{challenge},{last}".encode(), name)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    exchange(f"{last},p={proof}".encode())
