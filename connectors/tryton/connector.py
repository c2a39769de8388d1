"""Connector that reads Tryton over JSON-RPC: transitions and deletes from its log, other records by their last change.

Guarantee: at least once; repeated reads have the same event id. Deletes: the log contains parties that were deleted over RPC; a
comparison of ids finds the others.
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
from connectors.tryton.feeds import CHANGED_PARTIES, FEEDS, GONE_PARTIES, LOG_MODEL, Feed
from connectors.tryton.rpc import Rpc, encode_time
from connectors.tryton.settings import TrytonSettings
from schemas.errors import ConfigError, RetryableError

ACTION_BITS = (1, 2, 4, 8)
MAX_ROWS = 1_000
TOO_MANY = "parties.gone: a cursor cannot hold the ids of all parties: remove the stream from `streams`"
NO_PARTIES = "parties.gone: the database has no party any more; they do not count as deleted: is it being restored?"


class Connector(HttpConnector):
    """One database. Cursor: {at, key, done}, see `connectors/http/keyset.py`; of `parties.gone`: {at, keys} of known parties."""

    settings_model: ClassVar[type[BaseModel]] = TrytonSettings

    def __init__(self, settings: TrytonSettings) -> None:
        fix = f"set {secret_variable(settings.name, 'password')} to the password of `user`"
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        self.rpc = Rpc(self.client)
        own = {"system": settings.system, **settings.identifier_settings()}
        mappings = {stream: self.mappings[stream].mapping.model_copy(update=own) for stream in settings.streams}
        self.mappings = {stream: RecordMapping(settings.name, stream, mapping) for stream, mapping in mappings.items()}

    def login(self, client: Client) -> dict[str, str]:
        """Return the headers of a new session, which Tryton ends when it is idle."""
        return Rpc(client).log_in(self.settings.user, self.settings.password.get_secret_value())

    def check(self) -> str:
        """Return the readable streams. Raises ConfigError if a module or a permission is missing."""
        wanted = dict.fromkeys(module for stream in self.mappings for module in FEEDS[stream].modules)
        activated = [["name", "in", list(wanted)], ["state", "=", "activated"]]
        present = {row["name"] for row in self.rpc.search("ir.module", activated, ("name",))}
        if missing := next((module for module in wanted if module not in present), None):
            affected = ", ".join(stream for stream in self.mappings if missing in FEEDS[stream].modules)
            raise ConfigError(f"the database lacks the module {missing}: activate it, or remove {affected} from `streams`")
        for stream in self.mappings:
            self._fetch_rows(FEEDS[stream], [], 1)
        return f"{', '.join(self.mappings)} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Return the streams of the settings; `parties.gone` only if a comparison is due."""
        since = datetime.fromisoformat(saved[GONE_PARTIES]["at"]) if GONE_PARTIES in saved else None
        is_due = since is None or self.client.now() - since >= timedelta(seconds=self.settings.compare_seconds)
        return [stream for stream in self.mappings if stream != GONE_PARTIES or is_due]

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the events after the cursor, oldest first."""
        if stream == GONE_PARTIES:
            return self._read_gone(cursor)
        feed = FEEDS[stream]

        def page(at: datetime | None, key: str) -> list[dict[str, Any]]:
            return self._complete(stream, self._fetch_rows(feed, _build_after(feed.time, at, key), self.settings.page))

        batches = paginate(page, self.mappings[stream], self.client.now, self.settings.page, cursor, window)
        return map(_remove_first_contacts, batches) if stream == CHANGED_PARTIES else batches

    def count(self, stream: str, window: Window) -> int | None:
        """Return the server's own count; None for `parties.changed`, whose filter the server does not support."""
        if stream == CHANGED_PARTIES:
            return None
        feed = FEEDS[stream]
        return self.rpc.count(
            feed.model, [*feed.domain, *_build_clause(feed, ">=", window.start), *_build_clause(feed, "<", window.end)]
        )

    def _read_gone(self, cursor: Cursor | None) -> Iterator[Batch]:
        """Yield missing parties whose delete is not in the log. Their version is `since`, the time of the cursor."""
        current = build_key_set(self._list_parties())
        if current.is_empty() and cursor:
            raise RetryableError(NO_PARTIES)
        read_at = self.client.now()
        now = read_at.isoformat()
        for missing, after in find_missing_keys(current, cursor, now, self.settings.page):
            if after is None:
                raise ConfigError(TOO_MANY)
            since = cursor["at"] if cursor else now
            rows = [{"id": party, "gone_at": now, "since": since} for party in self._filter_unlogged(missing)]
            yield Batch(self.mappings[GONE_PARTIES].create_records(rows, read_at), after, progress=float(not missing))

    def _list_parties(self) -> Iterator[int]:
        feed, last = FEEDS[GONE_PARTIES], 0
        while rows := self._fetch_rows(feed, [["id", ">", last]], MAX_ROWS):
            yield from (row["id"] for row in rows)
            last = rows[-1]["id"]

    def _filter_unlogged(self, parties: list[int]) -> list[int]:
        """Return the parties whose delete is not in the log. The server only counts, so lists are halved."""
        if not parties:
            return []
        names = [f"{FEEDS[GONE_PARTIES].about},{party}" for party in parties]
        logged = self.rpc.count(LOG_MODEL, [["event", "=", "delete"], ["resource", "in", names]])
        if logged in (0, len(parties)):
            return [] if logged else parties
        half = len(parties) // 2
        return self._filter_unlogged(parties[:half]) + self._filter_unlogged(parties[half:])

    def _fetch_rows(self, feed: Feed, after: list[Any], limit: int) -> list[dict[str, Any]]:
        return self.rpc.search(feed.model, [*feed.domain, *after], feed.fields, order=feed.time, limit=limit)

    def _complete(self, stream: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows with additional fields."""
        added = FEEDS[stream].added
        rows = [{**row, **{name: compute(row) for name, compute in added.items()}} for row in rows]
        if stream == "sales":
            ordered = self._find_ordered([row for row in rows if row["target"] == "state:cancelled" and row["resource"]])
            return [{**row, "ordered": row["id"] in ordered} for row in rows]
        if stream == "parties":
            names = self._find_deleted_ids(FEEDS[stream].about, [row["id"] for row in rows])
            return [{**row, "party": names[row["id"]]} for row in rows]
        return rows

    def _find_ordered(self, rows: list[dict[str, Any]]) -> set[int]:
        """Return the ids of rows whose sale was confirmed before: Tryton has the same transition for quotes and orders."""
        if not rows:
            return set()
        sales = [f"sale.sale,{row['resource']['id']}" for row in rows]
        confirmed = [["target", "=", "state:confirmed"], ["resource", "in", sales]]
        first: dict[int, int] = {}
        for one in self.rpc.search(LOG_MODEL, confirmed, ("resource.number",)):
            first.setdefault(one["resource"]["id"], one["id"])
        return {row["id"] for row in rows if first.get(row["resource"]["id"], row["id"]) < row["id"]}

    def _find_deleted_ids(self, model: str, rows: list[int]) -> dict[int, str]:
        """Return the id of the deleted record for each row of the log.

        Tryton hides this id but can search by it, so each digit takes four requests for all rows together.
        """
        names = dict.fromkeys(rows, "")
        unfinished = rows
        while unfinished:
            digits = dict.fromkeys(unfinished, 0)
            for bit in ACTION_BITS:
                for row in self.rpc.search(LOG_MODEL, _match_digit(model, len(names[unfinished[0]]), bit, unfinished), ("id",)):
                    digits[row["id"]] |= bit
            names.update({row: f"{names[row]}{digit - 1}" for row, digit in digits.items() if digit})
            unfinished = [row for row, digit in digits.items() if digit]
        return names


def _remove_first_contacts(batch: Batch) -> Batch:
    """Return the batch without the contacts that `parties.new` publishes."""
    return replace(
        batch, records=[one for one in batch.records if isinstance(one, RejectedRecord) or not _is_first_contact(one.data)]
    )


def _is_first_contact(row: dict[str, Any]) -> bool:
    """Return whether a contact is the party's first e-mail or phone, created with the party."""
    party = row["party"]
    return row["last_modified_at"] == party["create_date"] and row["value"] in (party["email"], party["phone"])


def _match_digit(model: str, position: int, bit: int, rows: list[int]) -> list[Any]:
    """Return the domain of rows whose id has a digit d at `position` with this bit in d + 1; 0 then means no digit."""
    likes = [["resource", "like", f"{model},{'_' * position}{digit}%"] for digit in range(10) if digit + 1 & bit]
    return [["id", "in", rows], ["OR", *likes]]


def _build_after(time: str, at: datetime | None, key: str) -> list[Any]:
    """Return the domain of records after (time, id)."""
    if at is None:
        return []
    if not key:
        return [[time, ">=", encode_time(at)]]
    return [["OR", [[time, ">", encode_time(at)]], [[time, "=", encode_time(at)], ["id", ">", int(key)]]]]


def _build_clause(feed: Feed, operator: str, at: datetime | None) -> list[Any]:
    return [[feed.time, operator, encode_time(at)]] if at else []
