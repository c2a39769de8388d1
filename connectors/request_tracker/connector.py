"""Connector that reads the ticket transactions of Request Tracker 5 over REST 2 in the order of their ids.

Guarantee: at least once; repeated reads have the same event id. Deletes: a ticket with the status `deleted` is a transaction; a
shredded ticket is not reported.
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
from connectors.request_tracker.settings import RequestTrackerSettings
from connectors.request_tracker.ticket_event import Item, build_event, group_by
from connectors.settings import secret_variable
from schemas.errors import ConfigError

FIX = "set {} to a token of a user with the rights SeeQueue and ShowTicket"
EVENT_QUERY = """ObjectType = 'RT::Ticket' AND (Type = 'Create' OR Type = 'Correspond' OR (Type = 'Set' AND Field = 'Queue')
OR (Type = 'Status' AND (NewValue = 'resolved' OR NewValue = 'rejected' OR NewValue = 'deleted'
OR OldValue = 'resolved' OR OldValue = 'rejected' OR OldValue = 'deleted')))""".replace("\n", " ")
MESSAGE_QUERY = "ObjectType = 'RT::Ticket' AND (Type = 'Create' OR Type = 'Correspond')"
FIELDS = "Type,Created,Creator,Field,OldValue,NewValue,ObjectId,ObjectType"
TICKET = {"fields": "Subject,Priority,Created,Queue,Requestor", "fields[Queue]": "Name", "fields[Requestor]": "EmailAddress"}
MAX_RESULTS = 100
MAX_OVERLAP_IDS = 10_000


class Place(NamedTuple):
    """Position of a round: the last id; the newest time so far; the first id that was still in the future."""

    id: int = 0
    at: datetime | None = None
    held: int | None = None

    def to_cursor(self, *, done: bool) -> dict[str, Any]:
        """Return the place as a cursor."""
        return {"id": self.id, "at": self.at and self.at.isoformat(), "held": self.held, "done": done}


class Connector(HttpConnector):
    """One Request Tracker. Cursor: {id, at, held, done}: a place, and whether the round reached the end there."""

    settings_model: ClassVar[type[BaseModel]] = RequestTrackerSettings

    def __init__(self, settings: RequestTrackerSettings) -> None:
        self.fix = FIX.format(secret_variable(settings.name, "token"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=self.fix)
        self.settings = settings
        own = {"system": settings.system, **settings.identifier_settings()}
        mapping = self.mappings["tickets"].mapping.model_copy(update=own)
        self.mappings = {"tickets": RecordMapping(settings.name, "tickets", mapping)}
        self.client = Client(
            settings.url,
            self.rate_limit,
            timeout=settings.timeout_seconds,
            credentials_hint=self.fix,
            login=self.login,
            choose_action=_choose_action,
        )

    def login(self, client: Client) -> dict[str, str]:
        """Return the headers with the token, which does not change."""
        return {"Authorization": f"token {self.settings.token.get_secret_value()}"}

    def check(self) -> str:
        """Return the version and the time of the last event. Raises ConfigError with the setting to change."""
        version = self._parse(self.client.get("/REST/2.0/rt"))["Version"]
        newest = self._fetch_transactions(EVENT_QUERY, 1, "DESC")
        if not newest:
            return f"Request Tracker {version}: no visible ticket; if there are tickets, {self.fix}"
        return f"Request Tracker {version} at {self.settings.url}, its last event of {newest[0]['Created']}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the transactions after the cursor by id. RT hides some, so a page may be short; only an empty page is the end."""
        place = self._find_begin(cursor, window)
        page = self._fetch_after(place.id)
        while True:
            now = self.client.now()
            end = min(now, window.end) if window.end else now
            records = self.mappings[stream].create_records(self._join(page), now)
            place = _advance(place, records, page, end)
            settled = [one for one in records if _is_settled(one, end)]
            page = self._fetch_after(place.id) if settled or (page and window.end is None) else []
            share = window.progress_at(place.at, now) if place.at and page else 1.0
            inside = [one for one in settled if not _is_before(one, window.start)]
            yield Batch(inside, place.to_cursor(done=not page), progress=share)
            if not page:
                return

    def _find_begin(self, cursor: Cursor | None, window: Window) -> Place:
        """Return the place to continue at: a finished round goes back by its overlap, and to the first future id."""
        if cursor is None:
            return Place(self._find_first(0, window.start) - 1 if window.start else 0)
        place = Place(cursor["id"], cursor["at"] and datetime.fromisoformat(cursor["at"]), cursor["held"])
        if not cursor["done"]:
            return place
        lowest = max(0, place.id - MAX_OVERLAP_IDS)
        again = self._find_first(lowest, place.at - self.mappings["tickets"].spec.lookback) if place.at else place.id + 1
        return Place(min(place.id + 1, again, place.held or again) - 1, place.at)

    def _find_first(self, after: int, since: datetime) -> int:
        """Return the first id after `after` since that time, or the next new id; hidden transactions never make it later."""
        limits = [
            {"field": "ObjectType", "value": "RT::Ticket"},
            {"field": "id", "operator": ">", "value": str(after)},
            {"field": "Created", "operator": ">=", "value": f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}"},
        ]
        transactions = self._fetch_transactions(json.dumps(limits), MAX_RESULTS, "ASC")
        if transactions:
            return int(transactions[0]["id"])
        newest = self._fetch_transactions(EVENT_QUERY, 1, "DESC")
        is_empty = newest and datetime.fromisoformat(newest[0]["Created"]) < since
        return int(newest[0]["id"]) + 1 if is_empty else after + 1

    def _fetch_after(self, last: int) -> list[Item]:
        return self._fetch_transactions(f"{EVENT_QUERY} AND id > {last}", self.settings.page, "ASC")

    def _fetch_transactions(self, query: str, size: int, order: str) -> list[Item]:
        options = {"query": query, "orderby": "id", "order": order, "per_page": size, "fields": FIELDS}
        items: list[Item] = self._parse(self.client.get("/REST/2.0/transactions", options))["items"]
        return items

    def _join(self, transactions: list[Item]) -> list[Item]:
        tickets = self._fetch_tickets({int(one["ObjectId"]) for one in transactions if one.get("ObjectId")})
        messages = [str(one["id"]) for one in transactions if one.get("Type") in ("Create", "Correspond") and one.get("id")]
        texts = group_by(self._fetch_attachments(messages), "TransactionId")
        before = group_by(self._fetch_messages(transactions), "ObjectId")
        return [
            build_event(
                one,
                tickets.get(str(one.get("ObjectId"))),
                texts.get(str(one.get("id")), ()),
                before.get(str(one.get("ObjectId")), ()),
            )
            for one in transactions
        ]

    def _fetch_messages(self, transactions: list[Item]) -> list[Item]:
        """Return the last hundred messages of the answered tickets among the transactions, newest first."""
        answered = {int(one["ObjectId"]) for one in transactions if one.get("Type") == "Correspond" and one.get("ObjectId")}
        if not answered:
            return []
        last = max(int(one["id"]) for one in transactions if one.get("id"))
        tickets = " OR ".join(f"ObjectId = {one}" for one in sorted(answered))
        return self._fetch_transactions(f"{MESSAGE_QUERY} AND id <= {last} AND ({tickets})", MAX_RESULTS, "DESC")

    def _fetch_tickets(self, ids: set[int]) -> dict[str, Item]:
        """Return the tickets by id. Deleted and merged tickets are missing in searches, so they are requested one by one."""
        query = " OR ".join(f"id = {one}" for one in sorted(ids)) or "id = 0"
        answer = self.client.get("/REST/2.0/tickets", {"query": query, "per_page": MAX_RESULTS, **TICKET})
        tickets = {str(one["id"]): one for one in self._parse(answer)["items"]}
        for one in sorted(ids - {int(name) for name in tickets}):
            answer = self.client.get(f"/REST/2.0/ticket/{one}")
            if answer.status != 404:
                tickets[str(one)] = answer.json()
        return tickets

    def _fetch_attachments(self, transactions: list[str]) -> Iterator[Item]:
        """Yield the texts of these transactions. Comments are internal and never requested."""
        filters = [{"field": "TransactionId", "value": one} for one in transactions]
        filters += [{"field": "ContentType", "value": kind} for kind in ("text/plain", "text/html")]
        page = 0
        while transactions:
            page += 1
            query = f"per_page={MAX_RESULTS}&page={page}&orderby=id&fields=Content,ContentType,TransactionId,Filename"
            items = self._parse(self.client.post(f"/REST/2.0/attachments?{query}", filters))["items"]
            yield from items
            if len(items) < MAX_RESULTS:
                return

    def _parse(self, answer: Response) -> Any:
        if answer.status == 404:
            raise ConfigError(f"url: {self.settings.url} has no REST 2 interface: set it to RT's WebURL, without /REST/2.0")
        return answer.json()


def _choose_action(answer: Response) -> Action:
    """Accept 404: a missing ticket is no error; `_parse` raises for other missing paths."""
    return Action.ACCEPT if answer.status == 404 else choose_action(answer)


def _is_settled(record: Record | RejectedRecord, now: datetime) -> bool:
    return isinstance(record, RejectedRecord) or (record.time is not None and record.time < now)


def _is_before(record: Record | RejectedRecord, start: datetime | None) -> bool:
    return isinstance(record, Record) and start is not None and record.time is not None and record.time < start


def _advance(place: Place, records: list[Record | RejectedRecord], page: list[Item], end: datetime) -> Place:
    times = [one.time for one in records if isinstance(one, Record) and one.time and _is_settled(one, end)]
    ahead = [int(one.key) for one in records if not _is_settled(one, end) and isinstance(one, Record)]
    return Place(
        max([int(one["id"]) for one in page if one.get("id")], default=place.id),
        max([*times, *([place.at] if place.at else [])], default=None),
        min([*ahead, *([place.held] if place.held else [])], default=None),
    )
