"""HTTP client of the connectors: the error of each response, time-outs, clocks and addresses."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from connectors.errors import AuthError, CursorExpiredError, RateLimitedError
from connectors.http import client as edge
from connectors.http.client import Client
from connectors.http.rate_limit import RateLimit
from schemas.errors import ConfigError, RetryableError

Reply = tuple[int, dict[str, str], bytes]


class Source:
    """Server whose next response is `reply`; `requested` holds the targets of all requests."""

    def __init__(self) -> None:
        self.reply: Reply = (200, {}, b"{}")
        self.pause = 0.0
        self.requested: list[str] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.requested.append(self.path)
                time.sleep(source.pause)
                status, headers, body = source.reply
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def source() -> Iterator[Source]:
    found = Source()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def client(source: Source) -> Iterator[Client]:
    url = f"http://127.0.0.1:{source.server.server_port}/base/"
    found = Client(url, RateLimit(), timeout=5, credentials_hint="create a new token", login=lambda _: {})
    yield found
    found.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, ConfigError),
        (400, ConfigError),
        (401, AuthError),
        (403, AuthError),
        (404, ConfigError),
        (408, RetryableError),
        (410, CursorExpiredError),
        (429, RateLimitedError),
        (501, ConfigError),
        (502, RetryableError),
    ],
)
def test_error_of_a_status_names_the_path_without_query_or_body(
    client: Client, source: Source, status: int, error: type[Exception]
) -> None:
    source.reply = status, {"Location": "http://elsewhere.example"}, b"customer data"
    with pytest.raises(error) as raised:
        client.get("/people", {"mail": "ann@example.com"})
    assert type(raised.value) is error
    assert f"GET /base/people of 127.0.0.1:{source.server.server_port} answers {status}" in str(raised.value)
    assert "ann" not in str(raised.value)
    assert "customer data" not in str(raised.value)
    assert set(source.requested) == {"/base/people?mail=ann%40example.com"}


def test_query_is_percent_encoded_without_none_values(client: Client, source: Source) -> None:
    client.get("/a", {"filter": "x ge 1", "none": None, "limit": 3})
    assert source.requested == ["/base/a?filter=x%20ge%201&limit=3"]


def test_absolute_address_stays_below_the_url(client: Client, source: Source) -> None:
    client.get("http://elsewhere.example/token")
    assert source.requested == ["/base/http://elsewhere.example/token"]


def test_body_beyond_the_limit_is_refused(client: Client, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "MAX_BODY_BYTES", 100_000)
    source.reply = 200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000)
    with pytest.raises(ConfigError, match="smaller pages"):
        client.get("/bomb")


def test_html_body_and_unreachable_source_are_retryable(client: Client, source: Source) -> None:
    source.reply = 200, {}, b"<html>sign in</html>"
    with pytest.raises(RetryableError, match="did not respond with JSON"):
        client.get("/a").json()
    with pytest.raises(RetryableError, match=r"failed \(NewConnectionError\): check `url`"):
        Client("http://127.0.0.1:1", RateLimit(), timeout=1, credentials_hint="", login=lambda _: {}).get("/a")


def test_silent_source_fails_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(RetryableError, match=r"failed \(ReadTimeoutError\)"):
            Client(url, RateLimit(), timeout=0.2, credentials_hint="", login=lambda _: {}).get("/a")
        assert time.monotonic() - began < edge.CONNECT_SECONDS


def test_response_may_take_longer_than_the_connect_timeout(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CONNECT_SECONDS", 0.5)
    source.pause = 1.0
    client = Client(
        f"http://127.0.0.1:{source.server.server_port}", RateLimit(), timeout=30, credentials_hint="", login=lambda _: {}
    )
    assert client.get("/slow").status == 200
    client.close()


def test_retry_after_is_relative_to_the_clock_of_the_source(client: Client, source: Source) -> None:
    there = datetime.now(UTC) - timedelta(hours=5)
    source.reply = (
        429,
        {"Date": format_datetime(there, usegmt=True), "Retry-After": format_datetime(there + timedelta(minutes=1), usegmt=True)},
        b"",
    )
    with pytest.raises(RateLimitedError) as raised:
        client.get("/a")
    assert raised.value.retry_after == pytest.approx(60, abs=2)
    assert abs(client.now() - there) < timedelta(seconds=3)


@pytest.mark.parametrize("url", ["reviews.example.com", "ftp://x", "http://", "https://[", ""])
def test_invalid_url_is_refused_when_the_client_is_created(url: str) -> None:
    with pytest.raises(ConfigError, match="https://host/path"):
        Client(url, RateLimit(), timeout=1, credentials_hint="", login=lambda _: {})
