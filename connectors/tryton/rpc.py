"""Client of Tryton's JSON-RPC: sessions, typed values, and errors with status 200."""

from base64 import b64encode
from datetime import UTC, date, datetime
from typing import Any

from connectors.errors import AuthError
from connectors.http.client import Client, Response
from schemas.errors import ConfigError, RetryableError

PATH = "/rpc/"


class Rpc:
    """Client that calls methods of models in one database."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def log_in(self, user: str, password: str) -> dict[str, str]:
        """Return the headers of a new session. Raises AuthError."""
        answer = self._client.post(PATH, _build_request("common.db.login", user, {"password": password}), signed=False)
        uid, key, *_ = _read_result(answer, "common.db.login")
        return {"Authorization": "Session " + b64encode(f"{user}:{uid}:{key}".encode()).decode()}

    def search(
        self, model: str, domain: list[Any], fields: tuple[str, ...], *, order: str = "id", limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the records of a domain by `order` and id: dates as ISO texts, decimals as texts, related records nested."""
        orders = [[name, "ASC"] for name in dict.fromkeys((order, "id"))]
        records: list[dict[str, Any]] = decode(self._call(f"model.{model}.search_read", domain, 0, limit, orders, list(fields)))
        return records

    def count(self, model: str, domain: list[Any]) -> int:
        """Return the number of records of a domain."""
        return int(self._call(f"model.{model}.search_count", domain, 0, None))

    def _call(self, method: str, *params: Any) -> Any:
        return _read_result(self._client.post(PATH, _build_request(method, *params, {})), method)


def _build_request(method: str, *params: Any) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": params}


def _read_result(answer: Response, method: str) -> Any:
    """Return the result of a call. Error texts omit the server's own text, because it may name a customer."""
    body = answer.json()
    if not isinstance(body, dict) or not body.keys() & {"result", "error"}:
        raise RetryableError(f"{method}: the answer is not JSON-RPC: is `url` right?")
    kind = str((body.get("error") or [""])[0])
    if kind == "LoginException":
        raise AuthError(f"{method}: the server requires more than a password: use a `user` without a second factor")
    if kind == "UserError":
        raise ConfigError(
            f"{method}: the server denies access: make `user` an administrator, because only they may search Tryton's log"
        )
    if kind:
        raise RetryableError(f"{method}: the server failed: see its log")
    return body["result"]


def decode(value: Any) -> Any:
    """Return typed values as texts, and the related record `party.` as `party`."""
    if isinstance(value, list):
        return [decode(one) for one in value]
    if not isinstance(value, dict):
        return value
    fields = {name.rstrip("."): decode(one) for name, one in value.items()}
    kind = fields.pop("__class__", None)
    if kind == "datetime":
        return datetime(**fields, tzinfo=UTC).isoformat()
    if kind == "date":
        return date(**fields).isoformat()
    return fields["decimal"] if kind == "Decimal" else fields


def encode_time(at: datetime) -> dict[str, Any]:
    """Return a time in Tryton's JSON: in UTC, without a zone."""
    utc = at.astimezone(UTC)
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{name: getattr(utc, name) for name in parts}}
