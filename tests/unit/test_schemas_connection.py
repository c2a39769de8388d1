"""Kafka settings, the arguments of both clients, tokens, and errors that name the variable."""

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.errors import ConfigError
from schemas.service import tokens
from schemas.service.connection import KafkaSettings, parse_addresses
from schemas.service.tls import TlsSettings
from schemas.service.tokens import TokenCommand, TokenError, read_expiry
from tests.harness.secure_kafka import make_token

LOGIN: dict[str, Any] = {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": SecretStr("p")}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in KafkaSettings.model_fields:
        monkeypatch.delenv(f"TOUCHLINE_KAFKA_{field.upper()}", raising=False)
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    tokens.token_command.cache_clear()


def test_both_clients_get_the_same_arguments() -> None:
    settings = KafkaSettings(bootstrap_servers="a:1, b:2", security_protocol="SASL_SSL", **LOGIN)
    ours, theirs = settings.kafka_python(), settings.aiokafka()
    context = ours.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert isinstance(theirs.pop("ssl_context"), ssl.SSLContext)
    assert ours == theirs
    assert ours == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


def test_disabled_host_name_check_still_verifies_the_ca() -> None:
    context = TlsSettings(ssl_check_hostname=False).ssl_context()
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs a login mechanism: set TOUCHLINE_KAFKA_SASL_MECHANISM"),
        ({**LOGIN}, "no effect with TOUCHLINE_KAFKA_SECURITY_PROTOCOL=PLAINTEXT: set .* to SASL_SSL or SASL_PLAINTEXT"),
        ({**LOGIN, "security_protocol": "SSL"}, "no effect .* to SASL_SSL$"),
        ({**LOGIN, "security_protocol": "SASL_SSL", "sasl_username": None}, "needs TOUCHLINE_KAFKA_SASL_USERNAME: set it"),
        ({"sasl_mechanism": "OAUTHBEARER", "security_protocol": "SASL_SSL"}, "needs TOUCHLINE_KAFKA_SASL_TOKEN_COMMAND"),
        ({"security_protocol": "SSL", "ssl_keyfile": "k"}, "needs a client certificate: set TOUCHLINE_KAFKA_SSL_CERTFILE"),
        ({"security_protocol": "SSL", "ssl_cafile": "/no/ca"}, "^TOUCHLINE_KAFKA_SSL_CAFILE: cannot read /no/ca: No such file"),
        ({"security_protocol": "SSL", "ssl_cafile": __file__}, "^TOUCHLINE_KAFKA_SSL_CAFILE: .* holds no PEM certificate"),
        ({"security_protocol": "SSL", "ssl_certfile": __file__}, "^TOUCHLINE_KAFKA_SSL_CERTFILE: .* hold no PEM certificate"),
    ],
)
def test_contradicting_settings_raise_error_with_variable(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        KafkaSettings(**settings).aiokafka()


def test_wrong_value_in_the_environment_names_its_variable_and_hides_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_KAFKA_SECURITY_PROTOCOL", "secret")
    with pytest.raises(ConfigError, match=r"^TOUCHLINE_KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT'") as rejected:
        KafkaSettings()
    assert "secret" not in str(rejected.value)


def test_every_setting_is_described() -> None:
    assert [name for name, field in KafkaSettings.model_fields.items() if not field.description] == []


def test_addresses_accept_missing_port_and_ipv6() -> None:
    assert parse_addresses("a:1, b,[::1]:3,[::2]") == [("a", 1), ("b", 9092), ("::1", 3), ("::2", 9092)]


def counting(folder: Path, token: str) -> str:
    """Return a command that prints a token and counts its runs in a file."""
    program = folder / "token.py"
    program.write_text(f"open({str(folder / 'runs')!r}, 'a').write('x')\nprint({token!r})\n")
    return f"'{sys.executable}' '{program}'"


@pytest.mark.parametrize(("seconds", "runs"), [(3_600, "x"), (10, "xx")], ids=["valid", "about to expire"])
def test_token_is_fetched_again_before_it_expires(tmp_path: Path, seconds: float, runs: str) -> None:
    token = make_token(seconds=seconds)
    arguments = KafkaSettings(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", sasl_token_command=counting(tmp_path, token)
    )
    assert arguments.kafka_python()["sasl_oauth_token_provider"].token() == token
    assert asyncio.run(arguments.aiokafka()["sasl_oauth_token_provider"].token()) == token
    assert (tmp_path / "runs").read_text() == runs


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.e30.c", "a.bnVsbA.c"])
def test_token_that_is_no_jwt_counts_as_expired(token: str) -> None:
    assert read_expiry(token) == 0


@pytest.mark.parametrize(
    ("command", "text"),
    [("false", "exit code 1"), ("true", "printed no token"), ("/no/such", "cannot be run"), ("a 'b", "be run"), ("", "be run")],
)
def test_failing_token_command_raises_connection_error(command: str, text: str) -> None:
    with pytest.raises(TokenError, match=text) as failed:
        TokenCommand(command).fetch()
    assert isinstance(failed.value, OSError)


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        ("a..b:9092", "this is no host name"),
        ("x" * 64 + ":9092", "this is no host name"),
        ("kafka:0", "a port is a number from 1 to 65535"),
        ("kafka:9092,kafka:99999", "a port is a number from 1 to 65535"),
    ],
)
def test_address_that_no_client_can_use_is_a_wrong_setting(servers: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS: .*{text}"):
        KafkaSettings(bootstrap_servers=servers)
