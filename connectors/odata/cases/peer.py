"""Test server of SAP S/4HANA's sales orders in OData 2; `items` holds the rows as JSON, times as `/Date(milliseconds)/`.

POST /token grant_type=client_credentials, signed by the client     200 {access_token}; 401 for a wrong secret
GET  /API_SALES_ORDER_SRV/A_SalesOrder?$filter&$orderby&$top&...    200 {d: {results: [...]}}, with `__next` after 7 rows
GET  /API_SALES_ORDER_SRV/A_SalesOrder/$count?$filter               200 the number
401 without a valid token, 400 for an unknown content type or filter. As in S/4HANA the stored times are finer than the shown
ones: the order of rows with the same shown millisecond is invisible to clients; here it is by descending number.
"""

import json
import operator
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

STREAM = "sales_orders"
SETTINGS = {
    "name": "peer",
    "username": "touchline-client",
    "token_url": "/token",
    "client": "100",
    "page": 10,
    "streams": {
        "sales_orders": {
            "path": "/API_SALES_ORDER_SRV/A_SalesOrder",
            "key": "SalesOrder",
            "changed": "LastChangeDateTime",
            "expand": {"to_Item": ["Material"]},
            "fields": ["loyalty_tier", "huge"],
        }
    },
}
SECRETS = {"password": "peer-secret"}
PAGE = 10
UNKNOWN_FIELDS = True
MAX_ROWS = 7
PATH = "/API_SALES_ORDER_SRV/A_SalesOrder"
SHOWN_TIME = re.compile(r"/Date\((\d+)\+0000\)/")
TERM = re.compile(r"\(*(\w+) (ge|lt|gt) (?:datetimeoffset'([^']+)'|'([^']*)')\)*")
COMPARED: dict[str, Callable[[Any, Any], bool]] = {"ge": operator.ge, "lt": operator.lt, "gt": operator.gt}
FORM = "application/x-www-form-urlencoded"


class Peer:
    """The service with its orders by number. `logins` counts the issued tokens."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.logins = 0
        self.tokens: set[str] = set()

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create or change an order at `at` and return its key."""
        key = f"{number:010}"
        item = {
            "SalesOrder": key,
            "SoldToParty": f"{number + 1}",
            "LastChangeDateTime": f"/Date({_milliseconds(at)}+0000)/",
            "TotalNetAmount": "12.50",
            "TransactionCurrency": "EUR",
            "OverallSDProcessStatus": "A",
            "OverallSDDocumentRejectionSts": "A",
            "to_Item": {"results": [{"Material": "TG11"}]},
        }
        self.items[key] = {**item, **others}
        return key

    def delete(self, number: int, at: datetime) -> str:
        """Remove an order and return its key."""
        key = f"{number:010}"
        del self.items[key]
        return key

    def expire(self) -> None:
        """Revoke all tokens."""
        self.tokens.clear()

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        status, answer = self._answer(method, path, query, headers, body)
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        if (method, path) == ("POST", "/token"):
            return self._token(headers, body)
        if headers.get("Authorization") not in self.tokens:
            return 401, {"error": {"code": "401"}}
        if query["sap-client"] != "100" or path not in (PATH, f"{PATH}/$count"):
            return 404, {"error": {"code": "404"}}
        rows = self._rows(query.get("$filter"), query.get("$orderby", "SalesOrder"))
        if path != PATH:
            return 200, len(rows)
        sent = rows[: min(int(query["$top"]), MAX_ROWS)]
        more = {"__next": "https://elsewhere.example/"} if len(sent) < min(len(rows), int(query["$top"])) else {}
        return 200, {"d": {"results": [_select_properties(row, query["$select"]) for row in sent], **more}}

    def _token(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        signed = b64encode(f"{SETTINGS['username']}:{SECRETS['password']}".encode()).decode()
        if headers.get("Authorization") != f"Basic {signed}":
            return 401, {"error": "invalid_client"}
        if (headers.get("Content-Type"), body) != (FORM, b"grant_type=client_credentials"):
            return 400, {"error": "unsupported_grant_type"}
        self.logins += 1
        self.tokens.add(f"Bearer token-{self.logins}")
        return 200, {"access_token": f"token-{self.logins}", "token_type": "Bearer", "expires_in": 3600}

    def _rows(self, condition: str | None, order: str) -> list[dict[str, Any]]:
        rows = [row for row in self.items.values() if condition is None or _holds(condition, row)]
        rows.sort(key=_key, reverse=order != "SalesOrder")
        return rows if order == "SalesOrder" else sorted(rows, key=_shown_milliseconds)


def _holds(condition: str, row: dict[str, Any]) -> bool:
    return any(all(_term(term, row) for term in part.split(" and ")) for part in condition.split(" or "))


def _term(text: str, row: dict[str, Any]) -> bool:
    match = TERM.fullmatch(text)
    assert match, text
    if match[3] is None:
        return COMPARED[match[2]](_key(row), match[4])
    return _shown_milliseconds(row) >= 0 and COMPARED[match[2]](
        _shown_milliseconds(row), _milliseconds(datetime.fromisoformat(match[3]))
    )


def _select_properties(row: dict[str, Any], select: str) -> dict[str, Any]:
    names = {name.partition("/")[0] for name in select.split(",")}
    described = {"__metadata": {"uri": "https://elsewhere.example/"}, "to_Partner": {"__deferred": {"uri": "elsewhere"}}}
    return {**described, **{name: value for name, value in row.items() if name in names}}


def _key(row: dict[str, Any]) -> str:
    return row["SalesOrder"] or ""


def _shown_milliseconds(row: dict[str, Any]) -> int:
    match = SHOWN_TIME.fullmatch(row["LastChangeDateTime"] or "")
    return int(match[1]) if match else -1


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000)
