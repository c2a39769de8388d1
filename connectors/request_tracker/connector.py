"""Tickets of Request Tracker 5, by the transactions of its REST 2 interface in the order of their ids.

Guarantee: at least once, exact by event id. Deletes: a ticket set to `deleted` is a transaction, too; one shredded is not told.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, RejectedRecord, Window
from connectors.http.client import Action, Client, Response, choose_action
from connectors.http.http_connector import HttpConnector
from connectors.mapping.record_mapping import RecordMapping
from connectors.request_tracker.joined import Item, by, joined
from connectors.request_tracker.settings import RequestTrackerSettings
from connectors.settings import secret_variable
from schemas.errors import ConfigError

FIX = "set {} to a token of a user with the rights SeeQueue and ShowTicket"
TOLD = """ObjectType = 'RT::Ticket' AND (Type = 'Create' OR Type = 'Correspond' OR (Type = 'Set' AND Field = 'Queue')
OR (Type = 'Status' AND (NewValue = 'resolved' OR NewValue = 'rejected' OR NewValue = 'deleted'
OR OldValue = 'resolved' OR OldValue = 'rejected' OR OldValue = 'deleted')))""".replace("\n", " ")
MESSAGES = "ObjectType = 'RT::Ticket' AND (Type = 'Create' OR Type = 'Correspond')"
FIELDS = "Type,Created,Creator,Field,OldValue,NewValue,ObjectId,ObjectType"
TICKET = {"fields": "Subject,Priority,Created,Queue,Requestor", "fields[Queue]": "Name", "fields[Requestor]": "EmailAddress"}
MOST = 100
OVERLAP = 10_000


class Place(NamedTuple):
    """Where a walk is: after this id; the newest time so far; the first id whose time had not come."""

    id: int = 0
    at: datetime | None = None
    held: int | None = None

    def cursor(self, *, done: bool) -> dict[str, Any]:
        """As it is saved."""
        return {"id": self.id, "at": self.at and self.at.isoformat(), "held": self.held, "done": done}


class Connector(HttpConnector):
    """One Request Tracker. Cursor: {id, at, held, done}, a place and whether the walk came to its end there."""

    settings_model: ClassVar[type[BaseModel]] = RequestTrackerSettings

    def __init__(self, settings: RequestTrackerSettings) -> None:
        self.fix = FIX.format(secret_variable(settings.name, "token"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=self.fix)
        self.settings = settings
        mapping = self.mappings["tickets"].mapping.model_copy(update={"system": settings.system})
        self.mappings = {"tickets": RecordMapping(settings.name, "tickets", mapping)}
        self.client = Client(
            settings.url,
            self.rate_limit,
            timeout=settings.timeout_seconds,
            credentials_hint=self.fix,
            login=self.login,
            choose_action=_decide,
        )

    def login(self, client: Client) -> dict[str, str]:
        """The token as it is: it does not change."""
        return {"Authorization": f"token {self.settings.token.get_secret_value()}"}

    def check(self) -> str:
        """The version, and whether there is a ticket to see. Raises ConfigError with what to change."""
        version = self._found(self.client.get("/REST/2.0/rt"))["Version"]
        newest = self._transactions(TOLD, 1, "DESC")
        if not newest:
            return f"Request Tracker {version}: no ticket in sight; if there is one, {self.fix}"
        return f"Request Tracker {version} at {self.settings.url}, its last event of {newest[0]['Created']}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The transactions after the cursor by id. A page may be short where RT hides some, so only an empty one is the end."""
        place = self._begin(cursor, window)
        found = self._after(place.id)
        while True:
            now = self.client.now()
            end = min(now, window.end) if window.end else now
            records = self.mappings[stream].create_records(self._joined(found), now)
            place = _moved(place, records, found, end)
            settled = [one for one in records if _settled(one, end)]
            found = self._after(place.id) if settled or (found and window.end is None) else []
            share = window.progress_at(place.at, now) if place.at and found else 1.0
            inside = [one for one in settled if not _early(one, window.start)]
            yield Batch(inside, place.cursor(done=not found), progress=share)
            if not found:
                return

    def _begin(self, cursor: Cursor | None, window: Window) -> Place:
        """The place to go on at: a finished walk goes back by its overlap, and to what it held."""
        if cursor is None:
            return Place(self._first(0, window.start) - 1 if window.start else 0)
        place = Place(cursor["id"], cursor["at"] and datetime.fromisoformat(cursor["at"]), cursor["held"])
        if not cursor["done"]:
            return place
        least = max(0, place.id - OVERLAP)
        again = self._first(least, place.at - self.mappings["tickets"].spec.lookback) if place.at else place.id + 1
        return Place(min(place.id + 1, again, place.held or again) - 1, place.at)

    def _first(self, after: int, since: datetime) -> int:
        """The first id since that time, beyond `after`, or the one to come; no later one, whatever RT hides from this user."""
        limits = [
            {"field": "ObjectType", "value": "RT::Ticket"},
            {"field": "id", "operator": ">", "value": str(after)},
            {"field": "Created", "operator": ">=", "value": f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}"},
        ]
        found = self._transactions(json.dumps(limits), MOST, "ASC")
        if found:
            return int(found[0]["id"])
        newest = self._transactions(TOLD, 1, "DESC")
        nothing = newest and datetime.fromisoformat(newest[0]["Created"]) < since
        return int(newest[0]["id"]) + 1 if nothing else after + 1

    def _after(self, last: int) -> list[Item]:
        return self._transactions(f"{TOLD} AND id > {last}", self.settings.page, "ASC")

    def _transactions(self, query: str, size: int, order: str) -> list[Item]:
        asked = {"query": query, "orderby": "id", "order": order, "per_page": size, "fields": FIELDS}
        found: list[Item] = self._found(self.client.get("/REST/2.0/transactions", asked))["items"]
        return found

    def _joined(self, transactions: list[Item]) -> list[Item]:
        tickets = self._tickets({int(one["ObjectId"]) for one in transactions if one.get("ObjectId")})
        spoken = [str(one["id"]) for one in transactions if one.get("Type") in ("Create", "Correspond") and one.get("id")]
        said = by(self._attachments(spoken), "TransactionId")
        before = by(self._messages(transactions), "ObjectId")
        return [
            joined(
                one,
                tickets.get(str(one.get("ObjectId"))),
                said.get(str(one.get("id")), ()),
                before.get(str(one.get("ObjectId")), ()),
            )
            for one in transactions
        ]

    def _messages(self, transactions: list[Item]) -> list[Item]:
        """The last hundred messages in the tickets with an answer among the transactions, the newest first."""
        answered = {int(one["ObjectId"]) for one in transactions if one.get("Type") == "Correspond" and one.get("ObjectId")}
        if not answered:
            return []
        last = max(int(one["id"]) for one in transactions if one.get("id"))
        tickets = " OR ".join(f"ObjectId = {one}" for one in sorted(answered))
        return self._transactions(f"{MESSAGES} AND id <= {last} AND ({tickets})", MOST, "DESC")

    def _tickets(self, ids: set[int]) -> dict[str, Item]:
        """The tickets by id, one by one those that a search leaves out: deleted or merged."""
        query = " OR ".join(f"id = {one}" for one in sorted(ids)) or "id = 0"
        asked = self.client.get("/REST/2.0/tickets", {"query": query, "per_page": MOST, **TICKET})
        found = {str(one["id"]): one for one in self._found(asked)["items"]}
        for one in sorted(ids - {int(name) for name in found}):
            answer = self.client.get(f"/REST/2.0/ticket/{one}")
            if answer.status != 404:
                found[str(one)] = answer.json()
        return found

    def _attachments(self, transactions: list[str]) -> Iterator[Item]:
        """The texts of those transactions, but for comments, which are internal and never asked for."""
        asked = [{"field": "TransactionId", "value": one} for one in transactions]
        asked += [{"field": "ContentType", "value": kind} for kind in ("text/plain", "text/html")]
        page = 0
        while transactions:
            page += 1
            query = f"per_page={MOST}&page={page}&orderby=id&fields=Content,ContentType,TransactionId,Filename"
            found = self._found(self.client.post(f"/REST/2.0/attachments?{query}", asked))["items"]
            yield from found
            if len(found) < MOST:
                return

    def _found(self, answer: Response) -> Any:
        if answer.status == 404:
            raise ConfigError(f"{self.settings.url} has no REST 2 interface: `url` must be RT's own WebURL, without /REST/2.0")
        return answer.json()


def _decide(answer: Response) -> Action:
    """A ticket that is gone is no error; what else is not found is told where it is asked for."""
    return Action.ACCEPT if answer.status == 404 else choose_action(answer)


def _settled(record: Record | RejectedRecord, now: datetime) -> bool:
    return isinstance(record, RejectedRecord) or (record.time is not None and record.time < now)


def _early(record: Record | RejectedRecord, start: datetime | None) -> bool:
    return isinstance(record, Record) and start is not None and record.time is not None and record.time < start


def _moved(place: Place, records: list[Record | RejectedRecord], found: list[Item], end: datetime) -> Place:
    times = [one.time for one in records if isinstance(one, Record) and one.time and _settled(one, end)]
    ahead = [int(one.key) for one in records if not _settled(one, end) and isinstance(one, Record)]
    return Place(
        max([int(one["id"]) for one in found if one.get("id")], default=place.id),
        max([*times, *([place.at] if place.at else [])], default=None),
        min([*ahead, *([place.held] if place.held else [])], default=None),
    )
