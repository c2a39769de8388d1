"""Websocket connection to a stream; it maps each failure to an error with the next step and never retries."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ssl import SSLError
from types import ModuleType
from typing import Any
from urllib.parse import urlencode, urlsplit

from connectors.errors import CursorExpiredError, RateLimitedError
from connectors.http.client import CONNECT_SECONDS
from connectors.http.rate_limit import RateLimit, seconds_until
from schemas.errors import ConfigError, RetryableError

MAX_FRAME_BYTES = 16 * 1024 * 1024


def import_websockets() -> ModuleType:
    """Return the client library. Raises ConfigError if it is not installed."""
    try:
        import websockets.sync.client
    except ImportError:
        raise ConfigError("bluesky needs another package: pip install websockets") from None
    return websockets


class Socket:
    """One open connection; `skew` is the server's clock minus the local clock."""

    def __init__(self, connection: Any, host: str, timeout: float) -> None:
        self._connection, self._host, self._timeout = connection, host, timeout
        self.skew = _parse_date(connection.response.headers.get("Date")) - datetime.now(UTC)

    def read_frames(self, quiet: float) -> Iterator[str | bytes]:
        """Yield frames until the server closes normally, or sends none for `quiet` seconds and answers a ping."""
        websockets = import_websockets()
        with _map_failures(self._host):
            while True:
                try:
                    yield self._connection.recv(timeout=quiet)
                except websockets.exceptions.ConnectionClosedOK:
                    return
                except TimeoutError:
                    with suppress(websockets.exceptions.ConnectionClosedOK):  # closed normally just now: recv returns the rest
                        if self._is_alive():
                            return
                        raise RetryableError(f"{self._host} stopped answering") from None

    def _is_alive(self) -> bool:
        return bool(self._connection.ping().wait(self._timeout))


@contextmanager
def open_stream(
    url: str, query: list[tuple[str, str]], rate_limit: RateLimit, *, protocols: list[str], timeout: float
) -> Iterator[Socket]:
    """Open a connection until the block ends."""
    websockets = import_websockets()
    host = urlsplit(url).netloc
    rate_limit.acquire()
    with ExitStack() as stack:
        with _map_failures(host):
            try:
                connect = websockets.sync.client.connect(
                    f"{url}?{urlencode(query)}",
                    subprotocols=protocols or None,
                    open_timeout=CONNECT_SECONDS + timeout,
                    close_timeout=1,
                    max_size=MAX_FRAME_BYTES,
                    proxy=None,
                )
                connection = stack.enter_context(connect)
            except websockets.exceptions.InvalidStatus as error:
                raise _map_status(error.response, host, rate_limit) from None
        yield Socket(connection, host, timeout)


def _map_status(response: Any, host: str, rate_limit: RateLimit) -> Exception:
    status, text = response.status_code, f"{host} answers {response.status_code}"
    seconds = seconds_until(response.headers.get("Retry-After"), _parse_date(response.headers.get("Date")))
    if status == 429:
        rate_limit.block(seconds or 0.0)
        return RateLimitedError(f"{text}: too many requests", seconds)
    if status >= 500:
        return RetryableError(f"{text}: it is down or busy", seconds)
    if _read_error_code(response.body) == "CursorTooOld":
        return CursorExpiredError(f"{text}: CursorTooOld")
    return ConfigError(f"{text}: are `url` and `protocol` right?")


def _read_error_code(body: bytes | None) -> Any:
    try:
        answer = json.loads(body or b"{}")
    except ValueError:
        return None
    return answer.get("error") if isinstance(answer, dict) else None


@contextmanager
def _map_failures(host: str) -> Iterator[None]:
    websockets = import_websockets()
    try:
        yield
    except websockets.exceptions.InvalidURI:
        raise ConfigError("url: must look like wss://host") from None
    except SSLError as error:
        raise ConfigError(f"{host}: its certificate is not trusted: is `url` right?") from error
    except (OSError, websockets.exceptions.WebSocketException) as error:
        raise RetryableError(
            f"{host} failed ({type(error).__name__}): are `url` and `protocol` right, and does it run?"
        ) from error


def _parse_date(text: str | None) -> datetime:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return datetime.now(UTC)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def read_server_time(skew: timedelta) -> datetime:
    """Return the server's current time."""
    return datetime.now(UTC) + skew
