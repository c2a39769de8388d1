"""Tryton over JSON-RPC: transitions and deletes from its log; invoices, opportunities, moves and contacts by their last change.

Guarantee: at least once, exact by event id. Deletes: the log tells of parties deleted over RPC, comparing ids finds the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, RejectedRecord, Window
from connectors.http.client import Client
from connectors.http.http_connector import HttpConnector
from connectors.http.key_set import build_key_set, find_missing_keys
from connectors.http.keyset import paginate
from connectors.mapping.record_mapping import RecordMapping
from connectors.settings import secret_variable
from connectors.tryton.feeds import CHANGED, FEEDS, GONE, LOG, Feed
from connectors.tryton.rpc import Rpc, typed
from connectors.tryton.settings import TrytonSettings
from schemas.errors import ConfigError, RetryableError

BITS = (1, 2, 4, 8)
MOST_ROWS = 1_000
TOO_MANY = "parties.gone: the ids of the parties are too many to be remembered: leave it out of `streams`"
NOBODY = "parties.gone: there is no party any more, which is no reason to call everybody deleted: is the database being restored?"


class Connector(HttpConnector):
    """One database. Cursor: {at, key, done} (`connectors/http/keyset.py`); for `parties.gone`: {at, keys} of known parties."""

    settings_model: ClassVar[type[BaseModel]] = TrytonSettings

    def __init__(self, settings: TrytonSettings) -> None:
        fix = f"set {secret_variable(settings.name, 'password')} to the password of `user`"
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        self.rpc = Rpc(self.client)
        own = {"system": settings.system}
        mappings = {stream: self.mappings[stream].mapping.model_copy(update=own) for stream in settings.streams}
        self.mappings = {stream: RecordMapping(settings.name, stream, mapping) for stream, mapping in mappings.items()}

    def login(self, client: Client) -> dict[str, str]:
        """A session, which Tryton ends when nobody uses it."""
        return Rpc(client).session(self.settings.user, self.settings.password.get_secret_value())

    def check(self) -> str:
        """The streams that can be read. Raises ConfigError where a module is missing or the user lacks a right."""
        wanted = dict.fromkeys(module for stream in self.mappings for module in FEEDS[stream].modules)
        activated = [["name", "in", list(wanted)], ["state", "=", "activated"]]
        there = {row["name"] for row in self.rpc.search("ir.module", activated, ("name",))}
        if missing := next((module for module in wanted if module not in there), None):
            without = ", ".join(stream for stream in self.mappings if missing in FEEDS[stream].modules)
            raise ConfigError(f"the database lacks the module {missing}: activate it, or leave {without} out of `streams`")
        for stream in self.mappings:
            self._rows(FEEDS[stream], [], 1)
        return f"{', '.join(self.mappings)} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Those of the settings; parties are compared when their time has come."""
        since = datetime.fromisoformat(saved[GONE]["at"]) if GONE in saved else None
        due = since is None or self.client.now() - since >= timedelta(seconds=self.settings.compare_seconds)
        return [stream for stream in self.mappings if stream != GONE or due]

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """What happened since, oldest first."""
        if stream == GONE:
            return self._gone(cursor)
        feed = FEEDS[stream]

        def page(at: datetime | None, key: str) -> list[dict[str, Any]]:
            return self._told(stream, self._rows(feed, _after(feed.time, at, key), self.settings.page))

        batches = paginate(page, self.mappings[stream], self.client.now, self.settings.page, cursor, window)
        return map(_changes, batches) if stream == CHANGED else batches

    def count(self, stream: str, window: Window) -> int | None:
        """The server's own count; of `parties.changed` it cannot tell what `parties.new` tells."""
        if stream == CHANGED:
            return None
        feed = FEEDS[stream]
        return self.rpc.count(feed.model, [*feed.domain, *_clause(feed, ">=", window.start), *_clause(feed, "<", window.end)])

    def _gone(self, cursor: Cursor | None) -> Iterator[Batch]:
        """The parties that are no more and of whom the log does not tell. Read again, one is the same event, by its `since`."""
        there = build_key_set(self._parties())
        if there.is_empty() and cursor:
            raise RetryableError(NOBODY)
        read_at = self.client.now()
        now = read_at.isoformat()
        for missing, after in find_missing_keys(there, cursor, now, self.settings.page):
            if after is None:
                raise ConfigError(TOO_MANY)
            since = cursor["at"] if cursor else now
            rows = [{"id": party, "gone_at": now, "since": since} for party in self._untold(missing)]
            yield Batch(self.mappings[GONE].create_records(rows, read_at), after, progress=float(not missing))

    def _parties(self) -> Iterator[int]:
        feed, last = FEEDS[GONE], 0
        while rows := self._rows(feed, [["id", ">", last]], MOST_ROWS):
            yield from (row["id"] for row in rows)
            last = rows[-1]["id"]

    def _untold(self, parties: list[int]) -> list[int]:
        """Those of whose delete the log does not tell. It says of how many it does: halves are asked until it is all or none."""
        if not parties:
            return []
        names = [f"{FEEDS[GONE].about},{party}" for party in parties]
        told = self.rpc.count(LOG, [["event", "=", "delete"], ["resource", "in", names]])
        if told in (0, len(parties)):
            return [] if told else parties
        half = len(parties) // 2
        return self._untold(parties[:half]) + self._untold(parties[half:])

    def _rows(self, feed: Feed, after: list[Any], limit: int) -> list[dict[str, Any]]:
        return self.rpc.search(feed.model, [*feed.domain, *after], feed.fields, order=feed.time, limit=limit)

    def _told(self, stream: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with what they do not say by themselves."""
        added = FEEDS[stream].added
        rows = [{**row, **{name: of(row) for name, of in added.items()}} for row in rows]
        if stream == "sales":
            ordered = self._ordered([row for row in rows if row["target"] == "state:cancelled" and row["resource"]])
            return [{**row, "ordered": row["id"] in ordered} for row in rows]
        if stream == "parties":
            names = self._names(FEEDS[stream].about, [row["id"] for row in rows])
            return [{**row, "party": names[row["id"]]} for row in rows]
        return rows

    def _ordered(self, rows: list[dict[str, Any]]) -> set[int]:
        """The rows of sales that had been confirmed before: Tryton cancels a quote and an order in the same way."""
        if not rows:
            return set()
        sales = [f"sale.sale,{row['resource']['id']}" for row in rows]
        confirmed = [["target", "=", "state:confirmed"], ["resource", "in", sales]]
        first: dict[int, int] = {}
        for one in self.rpc.search(LOG, confirmed, ("resource.number",)):
            first.setdefault(one["resource"]["id"], one["id"])
        return {row["id"] for row in rows if first.get(row["resource"]["id"], row["id"]) < row["id"]}

    def _names(self, model: str, rows: list[int]) -> dict[int, str]:
        """The id of the deleted record that each row of the log tells of.

        Tryton shows it no more, but still searches by it: each digit is found in four requests for all rows together.
        """
        names = dict.fromkeys(rows, "")
        unfinished = rows
        while unfinished:
            digits = dict.fromkeys(unfinished, 0)
            for bit in BITS:
                for row in self.rpc.search(LOG, _digit(model, len(names[unfinished[0]]), bit, unfinished), ("id",)):
                    digits[row["id"]] |= bit
            names.update({row: f"{names[row]}{digit - 1}" for row, digit in digits.items() if digit})
            unfinished = [row for row, digit in digits.items() if digit]
        return names


def _changes(batch: Batch) -> Batch:
    """The batch without what `parties.new` tells."""
    return replace(batch, records=[one for one in batch.records if isinstance(one, RejectedRecord) or not _first(one.data)])


def _first(row: dict[str, Any]) -> bool:
    """Whether a contact is the party's first e-mail or phone, made together with it."""
    party = row["party"]
    return row["last_modified_at"] == party["create_date"] and row["value"] in (party["email"], party["phone"])


def _digit(model: str, position: int, bit: int, rows: list[int]) -> list[Any]:
    """The domain of those rows whose id has at `position` a digit d with this bit in d + 1; 0 is thus no digit at all."""
    likes = [["resource", "like", f"{model},{'_' * position}{digit}%"] for digit in range(10) if digit + 1 & bit]
    return [["id", "in", rows], ["OR", *likes]]


def _after(time: str, at: datetime | None, key: str) -> list[Any]:
    """The domain of what comes after (time, id)."""
    if at is None:
        return []
    if not key:
        return [[time, ">=", typed(at)]]
    return [["OR", [[time, ">", typed(at)]], [[time, "=", typed(at)], ["id", ">", int(key)]]]]


def _clause(feed: Feed, operator: str, at: datetime | None) -> list[Any]:
    return [[feed.time, operator, typed(at)]] if at else []
