"""The HTTP edge: what each answer makes of a request, how long a source says to wait, and what an account may still ask."""

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Window
from connectors.errors import AuthError, CursorExpiredError, RateLimitedError
from connectors.http import client as edge
from connectors.http.client import Client
from connectors.http.rate_limit import RateLimit, seconds_until
from connectors.settings import open_connector
from schemas.errors import ConfigError, RetryableError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Reply = tuple[int, dict[str, str], bytes]


class Source:
    """A server whose next answer is `reply`; `asked` holds the targets of all requests."""

    def __init__(self) -> None:
        self.reply: Reply = (200, {}, b"{}")
        self.pause = 0.0
        self.asked: list[str] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.asked.append(self.path)
                time.sleep(source.pause)
                status, headers, body = source.reply
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing on the screen."""

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
    found = Client(url, RateLimit(), timeout=5, credentials_hint="give it a new token", login=lambda _: {})
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
def test_a_status_is_an_error_that_names_the_request_but_not_what_was_asked_for(
    client: Client, source: Source, status: int, error: type[Exception]
) -> None:
    source.reply = status, {"Location": "http://elsewhere.example"}, b"customer data"
    with pytest.raises(error) as raised:
        client.get("/people", {"mail": "ann@example.com"})
    assert type(raised.value) is error
    assert f"GET /base/people of 127.0.0.1:{source.server.server_port} answers {status}" in str(raised.value)
    assert "ann" not in str(raised.value)
    assert "customer data" not in str(raised.value)
    assert set(source.asked) == {"/base/people?mail=ann%40example.com"}


def test_a_query_is_percent_encoded_and_leaves_out_what_is_none(client: Client, source: Source) -> None:
    client.get("/a", {"filter": "x ge 1", "none": None, "limit": 3})
    assert source.asked == ["/base/a?filter=x%20ge%201&limit=3"]


def test_an_absolute_address_stays_below_the_url(client: Client, source: Source) -> None:
    client.get("http://elsewhere.example/token")
    assert source.asked == ["/base/http://elsewhere.example/token"]


def test_a_body_beyond_the_bound_is_not_read_to_its_end(client: Client, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "MAX_BODY_BYTES", 100_000)
    source.reply = 200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000)
    with pytest.raises(ConfigError, match="smaller pages"):
        client.get("/bomb")


def test_a_page_of_a_proxy_is_no_json_and_a_source_that_is_away_can_be_tried_again(client: Client, source: Source) -> None:
    source.reply = 200, {}, b"<html>sign in</html>"
    with pytest.raises(RetryableError, match="no JSON"):
        client.get("/a").json()
    with pytest.raises(RetryableError, match=r"failed \(NewConnectionError\): is `url` right"):
        Client("http://127.0.0.1:1", RateLimit(), timeout=1, credentials_hint="", login=lambda _: {}).get("/a")


def test_a_source_that_never_answers_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(RetryableError, match=r"failed \(ReadTimeoutError\)"):
            Client(url, RateLimit(), timeout=0.2, credentials_hint="", login=lambda _: {}).get("/a")
        assert time.monotonic() - began < edge.CONNECT_SECONDS


def test_an_answer_may_take_longer_than_a_connection(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CONNECT_SECONDS", 0.5)
    source.pause = 1.0
    client = Client(
        f"http://127.0.0.1:{source.server.server_port}", RateLimit(), timeout=30, credentials_hint="", login=lambda _: {}
    )
    assert client.get("/slow").status == 200
    client.close()


def test_the_sources_clock_is_the_one_that_counts(client: Client, source: Source) -> None:
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
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="https://host/path"):
        Client(url, RateLimit(), timeout=1, credentials_hint="", login=lambda _: {})


@pytest.mark.parametrize(
    "text",
    [
        "90",
        "90.0",
        "Sun, 22 Nov 2026 12:01:30 GMT",
        "2026-11-22T12:01:30Z",
        "2026-11-22T13:01:30+01:00",
        str(int(NOW.timestamp()) + 90),
        str((int(NOW.timestamp()) + 90) * 1_000),
    ],
)
def test_every_spelling_of_a_wait_is_understood(text: str) -> None:
    assert seconds_until(text, NOW) == pytest.approx(90)


@given(st.one_of(st.none(), st.text(max_size=40), st.floats().map(str), st.integers().map(str)))
def test_whatever_a_header_holds_a_wait_is_never_negative_and_never_an_error(text: str | None) -> None:
    found = seconds_until(text, NOW)
    assert found is None or found >= 0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def wait(rate_limit: RateLimit) -> float:
    """How long to wait before the next request; 0 where it was counted."""
    try:
        rate_limit.acquire()
    except RateLimitedError as error:
        return error.retry_after or 0.0
    return 0.0


@pytest.mark.parametrize("prefix", ["X-RateLimit-", "RateLimit-", "X-Rate-Limit-"])
def test_a_budget_asks_nothing_beyond_what_is_left_until_it_is_renewed(prefix: str) -> None:
    clock = Clock()
    rate_limit = RateLimit(clock=clock)
    rate_limit.update({f"{prefix}Limit": "100", f"{prefix}Remaining": "2", f"{prefix}Reset": "30"}, NOW)
    assert [wait(rate_limit) for _ in range(3)] == [0, 0, 30]
    clock.now += 30
    assert wait(rate_limit) == 0


def test_a_backfill_leaves_half_of_the_rate_to_live_reading() -> None:
    clock = Clock()
    rate_limit = RateLimit(clock=clock)
    rate_limit.reserve = 0.5
    rate_limit.update({"RateLimit-Limit": "10", "RateLimit-Remaining": "7", "RateLimit-Reset": "30"}, NOW)
    assert [wait(rate_limit) for _ in range(3)] == [0, 0, 30]
    fixed = RateLimit(4, clock)
    fixed.reserve = 0.5
    assert [wait(fixed) for _ in range(3)] == [0, 0, 60]


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.integers(1, 8))
def test_never_more_requests_in_any_minute_than_the_fixed_rate(pauses: list[float], rate: int) -> None:
    clock = Clock()
    rate_limit = RateLimit(rate, clock)
    made: list[float] = []
    for pause in pauses:
        clock.now += pause
        if waiting := wait(rate_limit):
            clock.now += waiting + 1e-6
            assert wait(rate_limit) == 0
        made.append(clock.now)
    assert all(sum(first <= at < first + 60 for at in made) <= rate for first in made)


def test_a_share_of_a_window_is_between_nothing_and_all() -> None:
    window = Window(NOW, NOW + timedelta(hours=4))
    assert [window.progress_at(NOW + timedelta(hours=hours), NOW) for hours in (-1, 0, 1, 4, 9)] == [0, 0, 0.25, 1, 1]
    assert Window().progress_at(NOW, NOW) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: shop\n", "url: must be given; secret: set the environment variable TOUCHLINE_SHOP_SECRET"),
        ("name: my-shop\nurl: http://x\nsecret: abc\n", "set TOUCHLINE_MY_SHOP_SECRET"),
        ("url: http://x\n", "name: must be given; secret: set the environment variable TOUCHLINE_<NAME>_SECRET"),
        ("name: shop\nurl: http://x\npagesize: 3\n", "pagesize: there is no such entry; there are name, url, start"),
        ("name: shop\nurl: http://x\nstart: 2026-01-01 00:00\n", "start: needs a time zone, as in 2026-01-01T00:00:00Z"),
        (
            "name: my shop\nurl: http://x\n",
            "settings.yaml: name: may hold the letters a to z, digits, - and _, and must begin with",
        ),
        ("name: shop\nurl: 100\nsecret_too: 1\n", "url: must be a text: put it into quotes"),
        ("name: shop\nurl: [\n", "settings.yaml is not valid YAML at line 3"),
    ],
)
def test_wrong_settings_are_one_line_that_says_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        open_connector("example_reviews", path, {})
    assert said in str(raised.value)
    assert "abc" not in str(raised.value)
    assert "MY SHOP" not in str(raised.value)


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        (["sale"], "streams.0: Input should be 'sales', "),
        ([], "streams: must not be empty"),
    ],
)
def test_a_wrong_entry_of_a_list_is_told_once(tmp_path: Path, streams: list[str], said: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"name": "shop", "url": "http://x/db", "user": "reader", "streams": streams}))
    with patch.dict(os.environ, TOUCHLINE_SHOP_PASSWORD="secret"), pytest.raises(ConfigError) as raised:
        open_connector("tryton", path, {})
    assert str(raised.value).startswith(f"{path}: {said}")
    assert str(raised.value).count("streams") == 1


def test_the_name_of_an_entry_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"name": "shop", "endpoints": {"My App": {"protocol": "segment", "system": "app"}}}))
    with pytest.raises(ConfigError, match=r"settings.yaml: endpoints.My App: may hold the letters a to z, .*letter$"):
        open_connector("intake", path, {})


def test_a_secret_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_SHOP_SECRET", "do-not-show")
    path = tmp_path / "settings.yaml"
    path.write_text("name: shop\nurl: http://127.0.0.1:1\n")
    connector: Any = open_connector("example_reviews", path, {})
    assert connector.settings.secret.get_secret_value() == "do-not-show"
    assert "do-not-show" not in repr(connector.settings)
    assert "do-not-show" not in json.dumps(connector.settings.model_dump(mode="json"))
