"""HTTP client of the connectors: one account of one host. Each failure becomes an error that names the next step.

The client never sleeps and never retries, except once with a new token after a 401. The runner retries, from the saved cursor.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError

from connectors.errors import AuthError, CursorExpiredError, RateLimitedError
from connectors.http.rate_limit import RateLimit, seconds_until
from schemas.errors import ConfigError, RetryableError

MAX_BODY_BYTES = 32 * 1024 * 1024
CHUNK_BYTES = 65_536
CONNECT_SECONDS = 5.0
Headers = Mapping[str, str]


class Response(NamedTuple):
    """Status, headers (case-insensitive) and whole body of one response."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises RetryableError for anything else, such as a proxy's page or a truncated body."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise RetryableError("the source did not respond with JSON") from None


class Action(Enum):
    """Reaction of the client to a response."""

    ACCEPT = auto()
    RETRY = auto()
    WAIT = auto()
    REFRESH = auto()
    GAP = auto()
    STOP = auto()


def choose_action(response: Response) -> Action:
    """Return the reaction to a status as HTTP defines it. A connector whose source differs passes its own function."""
    status = response.status
    if 200 <= status < 300 or status == 304:
        return Action.ACCEPT
    if status in (408, 425) or (status >= 500 and status != 501):
        return Action.RETRY
    return {401: Action.REFRESH, 410: Action.GAP, 429: Action.WAIT}.get(status, Action.STOP)


class Client:
    """HTTP client for paths below `url`. A request can only name a path, so no token is ever sent to another host.

    `login` returns the headers that authenticate a request; it is called before the first request and after a 401.
    `credentials_hint` names the setting or variable to change after the source refused the credentials.
    """

    def __init__(
        self,
        url: str,
        rate_limit: RateLimit,
        *,
        timeout: float,
        credentials_hint: str,
        login: Callable[["Client"], Headers],
        choose_action: Callable[[Response], Action] = choose_action,
    ) -> None:
        try:
            parsed = urllib3.util.parse_url(url)
        except LocationParseError:
            raise ConfigError("url: must look like https://host/path") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError("url: must look like https://host/path")
        self._pool = urllib3.connection_from_url(
            url, timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout), retries=False
        )
        self._host, self._base = str(parsed.netloc), parsed.path or "/"
        self._rate_limit, self._login, self._choose_action = rate_limit, login, choose_action
        self._credentials_hint = credentials_hint
        self._auth_headers: Headers | None = None
        self._skew = timedelta(0)

    def get(self, path: str, query: Mapping[str, Any] | None = None, headers: Headers | None = None) -> Response:
        """Send a GET; None values of `query` are left out. Raises the errors of `connectors/errors.py`."""
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(parameters, quote_via=quote)}" if parameters else path
        return self._send_authenticated("GET", target, dict(headers or {}), None)

    def post(self, path: str, body: Any, *, signed: bool = True) -> Response:
        """Send a POST of JSON. The request of a login itself is not `signed`."""
        send = self._send_authenticated if signed else self._send_checked
        return send("POST", path, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def post_form(self, path: str, fields: Mapping[str, str]) -> Response:
        """Send a signed POST of form fields, as OAuth 2.0 requires for a token."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send_authenticated("POST", path, headers, urlencode(fields).encode())

    def now(self) -> datetime:
        """Return the source's time, by the Date header of its last response: the local clock may be wrong."""
        return datetime.now(UTC) + self._skew

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _send_authenticated(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        """Send a signed request, and a second one with a new token if the source refuses the first."""
        for is_last in (False, True):
            self._auth_headers = self._auth_headers or self._login(self)
            response = self._send(method, target, headers | dict(self._auth_headers), body)
            if is_last or self._choose_action(response) is not Action.REFRESH:
                break
            self._auth_headers = None
        return self._check(method, target, response)

    def _send_checked(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        return self._check(method, target, self._send(method, target, headers, body))

    def _send(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        self._rate_limit.acquire()
        with self._translate_errors(method, target):
            raw = self._pool.request(
                method, self._full_path(target), body=body, headers=headers, preload_content=False, redirect=False
            )
            try:
                response = Response(raw.status, raw.headers, b"".join(_read_body(raw, self._host)))
            except BaseException:
                raw.close()
                raise
            raw.release_conn()
        self._skew = _parse_date(response.headers) - datetime.now(UTC)
        self._rate_limit.update(response.headers, self.now())
        return response

    def _check(self, method: str, target: str, response: Response) -> Response:
        """Return an accepted response. Raises the error for every other one."""
        action = self._choose_action(response)
        text = f"{self._describe(method, target)} answers {response.status}"
        seconds = seconds_until(response.headers.get("Retry-After"), self.now())
        if action is Action.WAIT:
            self._rate_limit.block(seconds or 0.0)
            raise RateLimitedError(f"{text}: too many requests, wait {_format_seconds(seconds)}", seconds)
        if action is Action.RETRY:
            raise RetryableError(f"{text}: the source is down or busy, wait {_format_seconds(seconds)}", seconds)
        if action is Action.GAP:
            raise CursorExpiredError(text)
        if action is Action.REFRESH or response.status == 403:
            raise AuthError(f"{text}: {self._credentials_hint}")
        if action is Action.STOP:
            raise ConfigError(f"{text}: check `url`, and that the source still offers this version of its API")
        return response

    def _full_path(self, target: str) -> str:
        return (self._base.rstrip("/") if target.startswith("/") else self._base) + target

    def _describe(self, method: str, target: str) -> str:
        return f"{method} {self._full_path(target).partition('?')[0]} of {self._host}"

    @contextmanager
    def _translate_errors(self, method: str, target: str) -> Iterator[None]:
        """Translate the library's errors. No text contains the query, because it may name a customer."""
        text = self._describe(method, target)
        try:
            yield
        except SSLError as error:
            raise ConfigError(f"{text}: the certificate is not trusted: check `url`") from error
        except HTTPError as error:
            raise RetryableError(
                f"{text} failed ({type(error).__name__}): check `url`, and that the source is running"
            ) from error


def _read_body(response: urllib3.BaseHTTPResponse, host: str) -> Iterator[bytes]:
    size = 0
    for part in response.stream(CHUNK_BYTES):
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise ConfigError(f"{host} answers with more than {MAX_BODY_BYTES} bytes: request smaller pages")
        yield part


def _format_seconds(seconds: float | None) -> str:
    return "a while" if seconds is None else f"{seconds:.0f} s"


def _parse_date(headers: Headers) -> datetime:
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # a zone of -0000 parses as none
