"""Tryton's dialect of JSON-RPC: a session, typed values, and errors that come with status 200."""

from base64 import b64encode
from datetime import UTC, date, datetime
from typing import Any

from connectors.errors import AuthError
from connectors.http.client import Client, Response
from schemas.errors import ConfigError, RetryableError

PATH = "/rpc/"


class Rpc:
    """Calls methods of models in one database."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def session(self, user: str, password: str) -> dict[str, str]:
        """The headers of a new session. Raises AuthError."""
        answer = self._client.post(PATH, _request("common.db.login", user, {"password": password}), signed=False)
        uid, key, *_ = _result(answer, "common.db.login")
        return {"Authorization": "Session " + b64encode(f"{user}:{uid}:{key}".encode()).decode()}

    def search(
        self, model: str, domain: list[Any], fields: tuple[str, ...], *, order: str = "id", limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The records of a domain, by `order` and id: dates and times as ISO texts, numbers as texts, related records within."""
        orders = [[name, "ASC"] for name in dict.fromkeys((order, "id"))]
        found: list[dict[str, Any]] = plain(self._call(f"model.{model}.search_read", domain, 0, limit, orders, list(fields)))
        return found

    def count(self, model: str, domain: list[Any]) -> int:
        """How many records a domain has."""
        return int(self._call(f"model.{model}.search_count", domain, 0, None))

    def _call(self, method: str, *params: Any) -> Any:
        return _result(self._client.post(PATH, _request(method, *params, {})), method)


def _request(method: str, *params: Any) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": params}


def _result(answer: Response, method: str) -> Any:
    """The result of a call. The server's own words stay with it: they may name a customer."""
    found = answer.json()
    if not isinstance(found, dict) or not found.keys() & {"result", "error"}:
        raise RetryableError(f"{method}: the answer is none of JSON-RPC: is `url` right?")
    kind = str((found.get("error") or [""])[0])
    if kind == "LoginException":
        raise AuthError(f"{method}: the server asks for more than a password: give it a `user` without a second factor")
    if kind == "UserError":
        raise ConfigError(f"{method}: the server refuses: make `user` an administrator, only those may search Tryton's log")
    if kind:
        raise RetryableError(f"{method}: the server failed: its log says why")
    return found["result"]


def plain(value: Any) -> Any:
    """Typed values as texts, `party.` (the related record) as `party`."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    given = {name.rstrip("."): plain(one) for name, one in value.items()}
    kind = given.pop("__class__", None)
    if kind == "datetime":
        return datetime(**given, tzinfo=UTC).isoformat()
    if kind == "date":
        return date(**given).isoformat()
    return given["decimal"] if kind == "Decimal" else given


def typed(at: datetime) -> dict[str, Any]:
    """A time as Tryton's JSON has it: in UTC, without a zone."""
    utc = at.astimezone(UTC)
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{name: getattr(utc, name) for name in parts}}
