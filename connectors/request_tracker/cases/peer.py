"""Test server of Request Tracker 5 after its REST 2 documents and a real server's answers.

`items` holds transactions, each with its `ticket` and `attachments`.

GET  /REST/2.0/rt                                  200 {Version}
GET  /REST/2.0/transactions?query=&per_page=       200 {items, total}; total is null, as for users with limited rights
GET  /REST/2.0/tickets?query=id = 1 OR id = 2      200 {items}, without deleted ones
GET  /REST/2.0/ticket/1                            200, 404; requestors without their addresses
POST /REST/2.0/attachments [{field, value}, ...]   200 {items}
401 without the token.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

STREAM = "tickets"
SETTINGS = {"name": "peer", "page": 10}
SECRETS = {"token": "1-23-peer"}
PAGE = 10
UNKNOWN_FIELDS = True
JOINED_FIELDS = ("ticket", "attachments")
Item = dict[str, Any]


class Peer:
    """The ticket system, which needs no login."""

    logins = None

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    def put(self, number: int, at: datetime, **others: Any) -> str:
        """Create a ticket at `at` and return the id of that transaction."""
        mail = f"m{number}@example.org"
        requestor = {"type": "user", "id": mail, "EmailAddress": mail}
        queue = {"type": "queue", "id": "1", "Name": "General"}
        ticket = {
            "type": "ticket",
            "id": str(number),
            "Subject": "Help",
            "Priority": "0",
            "Queue": queue,
            "Requestor": [requestor],
        }
        text = {"TransactionId": str(number + 1), "ContentType": "text/plain", "Filename": "", "Content": "It is broken."}
        created = {"Type": "Create", "Created": f"{at:%Y-%m-%dT%H:%M:%SZ}", "ObjectId": str(number), "Creator": {"id": mail}}
        return self._add({"id": str(number + 1), **created, "ticket": ticket, "attachments": [text], **others})

    def delete(self, number: int, at: datetime) -> str:
        """Set a ticket to `deleted` at `at` and return the id of that transaction."""
        opened = self.items[str(number + 1)]
        deleted = {"Type": "Status", "OldValue": "open", "NewValue": "deleted", "Created": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
        opened["ticket"]["Status"] = "deleted"
        return self._add({**opened, **deleted, "id": str(1 + max(map(int, self.items))), "attachments": []})

    def expire(self) -> None:
        """Do nothing: the token does not expire."""

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for one request."""
        status, answer = self._answer(path.removeprefix("/REST/2.0"), query, headers, body)
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _add(self, item: Item) -> str:
        key = str(item["id"])
        self.items[key] = item
        return key

    def _answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if headers.get("Authorization") != f"token {SECRETS['token']}":
            return 401, {"message": "Unauthorized"}
        if path == "/rt":
            return 200, {"Version": "5.0.3", "Plugins": []}
        if path.startswith("/ticket/"):
            return self._ticket(path.removeprefix("/ticket/"))
        if path in ("/transactions", "/tickets", "/attachments"):
            items = list(getattr(self, f"_{path[1:]}")(query, body))
            return 200, {"items": items, "count": len(items), "total": None}
        return 404, {"message": "Not Found"}

    def _transactions(self, query: Mapping[str, str], body: bytes) -> Iterable[Item]:
        asked = query["query"]
        after = int((re.findall(r" id > (\d+)", asked) or ["0"])[0])
        since = ""
        if asked.startswith("["):
            limits = {one["field"]: one["value"] for one in json.loads(asked)}
            after, since = int(limits["id"]), limits["Created"]
        known = [(int(item["id"] or key), item) for key, item in self.items.items()]
        known.sort(key=itemgetter(0), reverse=query.get("order") == "DESC")
        tickets = set(re.findall(r"ObjectId = (\d+)", asked))
        kinds = set(re.findall(r"Type = '(\w+)'", asked))
        items = [item for number, item in known if number > after and since <= _time_text(item)]
        if tickets:
            items = [item for item in items if item["ObjectId"] in tickets and item["Type"] in kinds]
        for item in items[: int(query["per_page"])]:
            yield {name: value for name, value in item.items() if name not in JOINED_FIELDS}

    def _tickets(self, query: Mapping[str, str], body: bytes) -> Iterable[Item]:
        asked = set(re.findall(r"id = (\d+)", query["query"]))
        return [one for one in self._known_tickets().values() if one["id"] in asked and one.get("Status") != "deleted"]

    def _ticket(self, name: str) -> tuple[int, Any]:
        ticket = self._known_tickets().get(name)
        if ticket is None:
            return 404, {"message": "Not Found"}
        return 200, {**ticket, "Requestor": [{"type": "user", "id": one["id"]} for one in ticket["Requestor"]]}

    def _known_tickets(self) -> dict[str, Item]:
        return {one["ticket"]["id"]: one["ticket"] for one in self.items.values() if one.get("ticket")}

    def _attachments(self, query: Mapping[str, str], body: bytes) -> Iterable[Item]:
        asked = {one["value"] for one in json.loads(body) if one["field"] == "TransactionId"}
        kinds = {one["value"] for one in json.loads(body) if one["field"] == "ContentType"}
        parts = [part for item in self.items.values() for part in item.get("attachments") or ()]
        return [part for part in parts if part["TransactionId"] in asked and part["ContentType"] in kinds]


def _time_text(item: Item) -> str:
    return str(item.get("Created") or "5").replace("T", " ")
