"""Test server with the requests of Tryton 8.2 that the connector uses; its answers follow those of a real server.

POST /rpc/ {id, method, params}     200 {id, result}, or 200 {id, error: [...]}; 401 without a valid session
  common.db.login                   [user id, session, null]; 401 for a wrong password
  model.<model>.search_read         the records of a domain in an order
  model.<model>.search_count        the number of records

`items` holds records in Tryton's format with the requested fields. `of` is their model (default: the log). `about` is the record
of a log row (`sale.sale,7`): it can be searched but is never sent.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import eq, ge, gt, lt, ne
from typing import Any

STREAM = "sales"
SETTINGS = {"name": "peer", "user": "reader", "streams": [STREAM], "page": 10}
SECRETS = {"password": "peer-secret"}
PAGE = 10
UNKNOWN_FIELDS = False
OPERATORS: dict[str, Callable[[Any, Any], object]] = {
    "=": eq,
    "!=": ne,
    "<": lt,
    ">": gt,
    ">=": ge,
    "in": lambda value, expected: value in expected,
    "like": lambda value, expected: re.fullmatch(re.escape(expected).replace("_", ".").replace("%", ".*"), value),
}
READ = (STREAM, "shipments", "returns", "moves", "invoices", "opportunities", "parties.new", "parties.changed", "parties")
CASES = {name: {"streams": [name]} for name in READ}


class Peer:
    """The server with its records by key. `logins` counts the issued sessions."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.logins = 0
        self._sessions: set[str] = set()

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Log the confirmation of a sale at `at` and return the key of the log row."""
        party = {"id": number + 1, "code": str(number), "email": f"c{number}@example.org", "phone": None}
        sale = {"id": number + 1, "number": f"S{number}", "reference": None, "total_amount": _decimal("20.00")}
        self._log(number, at, "transition", "state:confirmed", f"sale.sale,{number + 1}")
        self.items[str(number)]["resource."] = {**sale, "currency.": {"id": 1, "code": "EUR"}, "party.": party, **others}
        return str(number)

    def delete(self, number: int, at: datetime) -> str:
        """Delete the sale: its log rows lose their record, and a new row logs the delete."""
        self.items[str(number)]["resource."] = None
        return self._log(70_000 + number, at, "delete", None, f"sale.sale,{number + 1}")

    def expire(self) -> None:
        """End all sessions."""
        self._sessions.clear()

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        asked = json.loads(body)
        status, answer = self._answer(asked["method"], asked["params"], headers)
        return status, {"Content-Type": "application/json"}, json.dumps({"id": asked["id"], **answer}).encode()

    def _answer(self, called: str, params: list[Any], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if called == "common.db.login":
            return self._login(*params)
        if headers.get("Authorization") not in self._sessions:
            return 401, {}
        model, _, name = called.removeprefix("model.").rpartition(".")
        if model == "ir.module":
            return 200, {"result": [{"id": number, "name": name} for number, name in enumerate(params[0][0][2])]}
        records = [one for one in self.items.values() if one.get("of", "ir.model.log") == model and _holds(params[0], one)]
        if name == "search_count":
            return 200, {"result": len(records)}
        _, _, limit, order, fields, _ = params
        records.sort(key=lambda one: [_plain(one[field]) for field, _ in order])
        sent = {"id", *(name.partition(".")[0] + "." * ("." in name) for name in fields)}
        return 200, {"result": [{name: one[name] for name in one if name in sent} for one in records[:limit]]}

    def _login(self, user: str, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if given != SECRETS:
            return 401, {}
        self.logins += 1
        self._sessions.add("Session " + b64encode(f"{user}:2:session-{self.logins}".encode()).decode())
        return 200, {"result": [2, f"session-{self.logins}", None]}

    def _log(self, number: int, at: datetime, event: str, target: str | None, about: str) -> str:
        row = {"id": number, "create_date": _datetime(at), "event": event, "target": target, "resource.": None, "about": about}
        self.items[str(number)] = row
        return str(number)


def _holds(domain: list[Any], record: dict[str, Any]) -> bool:
    if domain and isinstance(domain[0], str) and domain[0] != "OR":
        return _clause(record, *domain)
    if domain and domain[0] == "OR":
        return any(_holds(one, record) for one in domain[1:])
    return all(_holds(one, record) for one in domain)


def _clause(record: dict[str, Any], name: str, operator: str, value: Any) -> bool:
    return bool(OPERATORS[operator](_plain(_read_field(record, "about" if name == "resource" else name)), _plain(value)))


def _read_field(record: dict[str, Any], name: str) -> Any:
    """Return a field, also of a related record."""
    first, dot, rest = name.partition(".")
    return _read_field(record[first + dot], rest) if dot else record[first]


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    parts = {name: part for name, part in value.items() if name != "__class__"}
    return datetime(**parts, tzinfo=UTC)


def _datetime(at: datetime) -> dict[str, Any]:
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{name: getattr(at.astimezone(UTC), name) for name in parts}}


def _decimal(text: str) -> dict[str, str]:
    return {"__class__": "Decimal", "decimal": text}
