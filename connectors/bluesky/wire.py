"""The websocket edge: one connection, and every way it can fail as an error that says what to do. It never tries again."""

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

MAX_FRAME = 16 * 1024 * 1024


def library() -> ModuleType:
    """The client library. Raises ConfigError where the extra is not installed."""
    try:
        import websockets.sync.client
    except ImportError:
        raise ConfigError("bluesky needs one more package: pip install websockets") from None
    return websockets


class Socket:
    """One open connection; `skew` is how far the server's clock is ahead of ours."""

    def __init__(self, connection: Any, host: str, timeout: float) -> None:
        self._connection, self._host, self._timeout = connection, host, timeout
        self.skew = _date(connection.response.headers.get("Date")) - datetime.now(UTC)

    def frames(self, quiet: float) -> Iterator[str | bytes]:
        """Frames until none came for `quiet` seconds and the server still answers, or until it ends the stream well."""
        websockets = library()
        with _failures(self._host):
            while True:
                try:
                    yield self._connection.recv(timeout=quiet)
                except websockets.exceptions.ConnectionClosedOK:
                    return
                except TimeoutError:
                    with suppress(websockets.exceptions.ConnectionClosedOK):  # ended well just now: what is left comes next
                        if self._answers():
                            return
                        raise RetryableError(f"{self._host} does not answer any more") from None

    def _answers(self) -> bool:
        return bool(self._connection.ping().wait(self._timeout))


@contextmanager
def opened(
    url: str, query: list[tuple[str, str]], rate_limit: RateLimit, *, protocols: list[str], timeout: float
) -> Iterator[Socket]:
    """A connection until the block ends."""
    websockets = library()
    host = urlsplit(url).netloc
    rate_limit.acquire()
    with ExitStack() as stack:
        with _failures(host):
            try:
                connect = websockets.sync.client.connect(
                    f"{url}?{urlencode(query)}",
                    subprotocols=protocols or None,
                    open_timeout=CONNECT_SECONDS + timeout,
                    close_timeout=1,
                    max_size=MAX_FRAME,
                    proxy=None,
                )
                connection = stack.enter_context(connect)
            except websockets.exceptions.InvalidStatus as error:
                raise _refused(error.response, host, rate_limit) from None
        yield Socket(connection, host, timeout)


def _refused(response: Any, host: str, rate_limit: RateLimit) -> Exception:
    status, said = response.status_code, f"{host} answers {response.status_code}"
    seconds = seconds_until(response.headers.get("Retry-After"), _date(response.headers.get("Date")))
    if status == 429:
        rate_limit.block(seconds or 0.0)
        return RateLimitedError(f"{said}: asked too often", seconds)
    if status >= 500:
        return RetryableError(f"{said}: it is down or busy", seconds)
    if _error(response.body) == "CursorTooOld":
        return CursorExpiredError(f"{said}: CursorTooOld")
    return ConfigError(f"{said}: are `url` and `protocol` right?")


def _error(body: bytes | None) -> Any:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return None
    return found.get("error") if isinstance(found, dict) else None


@contextmanager
def _failures(host: str) -> Iterator[None]:
    websockets = library()
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


def _date(text: str | None) -> datetime:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return datetime.now(UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(skew: timedelta) -> datetime:
    """The server's time."""
    return datetime.now(UTC) + skew
