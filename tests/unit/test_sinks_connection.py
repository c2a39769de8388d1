"""A connection to ClickHouse that fails: each wrong setting has its own error, and the error names the variable."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clickhouse_driver.errors import ServerException

from schemas.errors import ConfigError, RetryableError, TouchlineError
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.connection import ClickHouseSettings
from tests.harness.tcp_server import tcp_server
from tests.harness.tls_certificates import Certificates, make_certificates
from tests.harness.tls_proxy import tls_port


class Servers(NamedTuple):
    """Ports of a server that ends every login: plaintext, TLS, and TLS that requires a client certificate.

    `web` answers HTTP with HTTP, as the native port of ClickHouse does.
    """

    plain: int
    web: int
    tls: int
    mutual: int
    certificates: Certificates


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    certificates = make_certificates(tmp_path_factory.mktemp("tls") / "files")
    with (
        ending_server() as plain,
        ending_server(b"HTTP/1.0 400 Bad Request\r\n\r\n") as web,
        tls_port(plain, certificates, requires_client=False) as tls,
        tls_port(plain, certificates, requires_client=True) as mutual,
    ):
        yield Servers(plain, web, tls, mutual, certificates)


def ending_server(web: bytes = b"") -> AbstractContextManager[int]:
    """Return a server that reads one message, answers HTTP with `web`, and closes the connection."""

    def serve(connected: socket.socket, _number: int) -> None:
        if connected.recv(65_536).startswith(b"GET"):
            connected.sendall(web)

    return tcp_server(serve)


def settings(servers: Servers, **changes: Any) -> ClickHouseSettings:
    """Return the right settings for the TLS port, with changes; names of ports and files stand for them."""
    right = {"host": "127.0.0.1", "port": servers.tls, "secure": True, "ssl_cafile": str(servers.certificates.ca)}
    names = {**servers._asdict(), **{name: str(path) for name, path in servers.certificates._asdict().items()}}
    return ClickHouseSettings(**{**right, **{field: names.get(str(value), value) for field, value in changes.items()}})


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"ssl_cafile": "other_ca"}, ConfigError, "does not vouch .* set TOUCHLINE_CLICKHOUSE_SSL_CAFILE to the file"),
        ({"ssl_cafile": None}, ConfigError, "the system's CA store does not vouch"),
        ({"ssl_cafile": "/nowhere"}, ConfigError, "^TOUCHLINE_CLICKHOUSE_SSL_CAFILE: cannot read /nowhere"),
        ({"secure": False}, ConfigError, "expects TLS: set TOUCHLINE_CLICKHOUSE_SECURE=true"),
        ({"secure": False, "port": "mutual"}, ConfigError, "expects TLS: set TOUCHLINE_CLICKHOUSE_SECURE=true"),
        ({"port": "mutual"}, ConfigError, "requires a client certificate: set TOUCHLINE_CLICKHOUSE_SSL_CERTFILE"),
        ({"port": "mutual", "ssl_certfile": "other_client"}, ConfigError, "rejects the client certificate"),
        ({"port": "web"}, ConfigError, "does not speak TLS: set TOUCHLINE_CLICKHOUSE_SECURE=false"),
        ({"port": "plain"}, RetryableError, "or where it does not speak TLS, set TOUCHLINE_CLICKHOUSE_SECURE=false"),
        ({"host": "127.1"}, ConfigError, "for another host name: correct TOUCHLINE_CLICKHOUSE_HOST"),
        ({"port": 1}, RetryableError, "no server listens there: .*TOUCHLINE_CLICKHOUSE_HOST or TOUCHLINE_CLICKHOUSE_PORT"),
        ({"host": "db.invalid"}, RetryableError, "host name is unknown: correct TOUCHLINE_CLICKHOUSE_HOST"),
    ],
)
def test_wrong_setting_is_named(servers: Servers, changes: dict[str, Any], kind: type[TouchlineError], text: str) -> None:
    with pytest.raises(kind, match=text):
        ClickHouse(settings(servers, **changes)).query("SELECT 1")


@pytest.mark.parametrize(
    "changes", [{}, {"port": "mutual", "ssl_certfile": "client"}, {"host": "127.1", "ssl_check_hostname": False}]
)
def test_login_that_ends_over_good_tls_names_user_and_password(servers: Servers, changes: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match=r"ends the login .* TOUCHLINE_CLICKHOUSE_PASSWORD right"):
        ClickHouse(settings(servers, **changes)).query("SELECT 1")


def test_system_store_is_used_without_a_ca_file(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.certificates.ca))
    with pytest.raises(UnavailableError, match="ends the login"):
        ClickHouse(settings(servers, ssl_cafile=None)).query("SELECT 1")


def test_unreadable_certificate_is_named_before_a_connection(servers: Servers, tmp_path: Path) -> None:
    missing = str(tmp_path / "client.pem")
    with pytest.raises(ConfigError, match=r"^TOUCHLINE_CLICKHOUSE_SSL_CERTFILE: cannot read .*client.pem: No such file"):
        ClickHouse(settings(servers, ssl_certfile=missing))


@pytest.mark.parametrize("changes", [{"port": 0}, {"port": 99_999}, {"host": "a..b"}])
def test_address_that_no_client_can_use_is_a_wrong_setting(servers: Servers, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^TOUCHLINE_CLICKHOUSE_{next(iter(changes)).upper()}: "):
        settings(servers, **changes)


def test_user_whose_limits_forbid_a_statement_is_named_with_its_setting(servers: Servers) -> None:
    raised = ServerException("Setting max_execution_time shouldn't be less than 1.", 452)
    error = ClickHouse(settings(servers))._map_error(raised, detail=True)
    assert isinstance(error, ConfigError)
    assert str(error).endswith("less than 1.: set TOUCHLINE_CLICKHOUSE_USER to a user without this limit")


def test_user_without_a_free_session_is_named_with_its_setting(servers: Servers) -> None:
    error = ClickHouse(settings(servers))._map_error(
        ServerException("User 9430 has overflown session count 1.", 700), detail=True
    )
    assert isinstance(error, UnavailableError)
    assert error.reason == "session_limit_exceeded"
    assert "no free session for the user default: set TOUCHLINE_CLICKHOUSE_USER (a local stack has `admin`)" in str(error)
