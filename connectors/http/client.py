"""The HTTP edge of all connectors: one account of one host, and every way it can fail as an error that says what to do.

It never sleeps and never tries again, but for one refresh of its token: the runner does, from the saved cursor.
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
CONNECT_SECONDS = 5.0
Headers = Mapping[str, str]


class Response(NamedTuple):
    """Status, headers (any case) and whole body of one request."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """The body. Raises RetryableError where it is no JSON: a proxy's page, or the half of an answer."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise RetryableError("the source answered with something that is no JSON") from None


class Action(Enum):
    """What an answer makes the client do."""

    ACCEPT = auto()
    RETRY = auto()
    WAIT = auto()
    REFRESH = auto()
    GAP = auto()
    STOP = auto()


def choose_action(answer: Response) -> Action:
    """By HTTP's own meaning of a status; a connector whose source differs passes its own function."""
    status = answer.status
    if 200 <= status < 300 or status == 304:
        return Action.ACCEPT
    if status in (408, 425) or (status >= 500 and status != 501):
        return Action.RETRY
    return {401: Action.REFRESH, 410: Action.GAP, 429: Action.WAIT}.get(status, Action.STOP)


class Client:
    """Asks below `url` only: a path is all that a request can name, so no token ever goes to another host.

    `login` fetches the headers that sign a request, at first and after a 401. `credentials_hint` names the setting or variable to
    change after the source refused the credentials.
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
            found = urllib3.util.parse_url(url)
        except LocationParseError:
            raise ConfigError("url: must look like https://host/path") from None
        if found.scheme not in ("http", "https") or not found.host:
            raise ConfigError("url: must look like https://host/path")
        self._pool = urllib3.connection_from_url(
            url, timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout), retries=False
        )
        self._host, self._base = str(found.netloc), found.path or "/"
        self._rate_limit, self._login, self._decide, self._credentials_hint = rate_limit, login, choose_action, credentials_hint
        self._signed: Headers | None = None
        self._skew = timedelta(0)

    def get(self, path: str, query: Mapping[str, Any] | None = None, headers: Headers | None = None) -> Response:
        """The answer to a GET; None values of `query` are left out. Raises the errors of `connectors/errors.py`."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, quote_via=quote)}" if given else path
        return self._signed_request("GET", target, dict(headers or {}), None)

    def post(self, path: str, body: Any, *, signed: bool = True) -> Response:
        """The answer to a POST of JSON; unsigned for the login itself."""
        ask = self._signed_request if signed else self._accepted
        return ask("POST", path, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def post_form(self, path: str, fields: Mapping[str, str]) -> Response:
        """The answer to a signed POST of form fields, which is how OAuth 2.0 asks for a token."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._signed_request("POST", path, kind, urlencode(fields).encode())

    def now(self) -> datetime:
        """The time by the source's clock, as its last answer told it: ours may be wrong."""
        return datetime.now(UTC) + self._skew

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _signed_request(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        """Signed, and once more with a fresh token where the source refuses the one at hand."""
        for last in (False, True):
            self._signed = self._signed or self._login(self)
            answer = self._answer(method, target, headers | dict(self._signed), body)
            if last or self._decide(answer) is not Action.REFRESH:
                break
            self._signed = None
        return self._checked(method, target, answer)

    def _accepted(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        return self._checked(method, target, self._answer(method, target, headers, body))

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Response:
        self._rate_limit.acquire()
        with self._failures(method, target):
            response = self._pool.request(
                method, self._below(target), body=body, headers=headers, preload_content=False, redirect=False
            )
            try:
                answer = Response(response.status, response.headers, b"".join(_bounded(response, self._host)))
            except BaseException:
                response.close()
                raise
            response.release_conn()
        self._skew = _date(answer.headers) - datetime.now(UTC)
        self._rate_limit.update(answer.headers, self.now())
        return answer

    def _checked(self, method: str, target: str, answer: Response) -> Response:
        action = self._decide(answer)
        said = f"{self._said(method, target)} answers {answer.status}"
        seconds = seconds_until(answer.headers.get("Retry-After"), self.now())
        if action is Action.WAIT:
            self._rate_limit.block(seconds or 0.0)
            raise RateLimitedError(f"{said}: asked too often, wait {_shown(seconds)}", seconds)
        if action is Action.RETRY:
            raise RetryableError(f"{said}: it is down or busy, wait {_shown(seconds)}", seconds)
        if action is Action.GAP:
            raise CursorExpiredError(said)
        if action is Action.REFRESH or answer.status == 403:
            raise AuthError(f"{said}: {self._credentials_hint}")
        if action is Action.STOP:
            raise ConfigError(f"{said}: is `url` right, and does the source still speak this version?")
        return answer

    def _below(self, target: str) -> str:
        return (self._base.rstrip("/") if target.startswith("/") else self._base) + target

    def _said(self, method: str, target: str) -> str:
        return f"{method} {self._below(target).partition('?')[0]} of {self._host}"

    @contextmanager
    def _failures(self, method: str, target: str) -> Iterator[None]:
        """The library's errors as ours; none carries the query, which may name a customer."""
        said = self._said(method, target)
        try:
            yield
        except SSLError as error:
            raise ConfigError(f"{said}: its certificate is not trusted: is `url` right?") from error
        except HTTPError as error:
            raise RetryableError(f"{said} failed ({type(error).__name__}): is `url` right, and does the source run?") from error


def _bounded(response: urllib3.BaseHTTPResponse, host: str) -> Iterator[bytes]:
    size = 0
    for part in response.stream(65_536):
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise ConfigError(f"{host} answers with more than {MAX_BODY_BYTES} bytes: ask it for smaller pages")
        yield part


def _shown(seconds: float | None) -> str:
    return "a while" if seconds is None else f"{seconds:.0f} s"


def _date(headers: Headers) -> datetime:
    try:
        found = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)  # a zone of -0000 is none
