"""Reads one entity set in the order of time and key, although the server may sort by a finer time than it shows.

Rows of one shown instant (one grain: a millisecond, a day) come in an order that cannot be named in a filter, so a page ends
inside such a group only after the group was asked for again, sorted by its key. A filter therefore never asks for equal times,
only for ranges. A server that sends less than was asked for is asked again after what it sent; its own links are not followed.
"""

from datetime import UTC, datetime
from typing import Any

from connectors.contract import Window
from connectors.http.client import Client
from connectors.odata.dialects import Answered, Dialect, Item, aligned, canonical, tick
from connectors.odata.settings import EntitySet
from schemas.errors import RetryableError


class Reader:
    """One entity set of one server."""

    def __init__(self, client: Client, dialect: Dialect, entity: EntitySet, columns: list[str], sap_client: str | None) -> None:
        self._client, self._dialect, self._entity = client, dialect, entity
        self._grain = tick(entity.type)
        asked = dict.fromkeys([entity.key, entity.changed, *columns, *entity.fields])
        fields = [name for name in asked if name not in entity.expand]
        self._shape = {**dialect.shape(fields, entity.expand), "sap-client": sap_client}
        self._sap_client = sap_client

    def page(self, size: int, at: datetime | None, key: str) -> list[Item]:
        """At most `size` items after (at, key) in the order of time and key; fewer only where there are no more."""
        found: list[Item] = []
        more = True
        while more and len(found) < size:
            part, more = self._part(size - len(found), at, key)
            if part:
                at, key = self._time(part[-1]), str(part[-1].get(self._entity.key) or "")
            found += part
        return found

    def count(self, window: Window) -> int:
        """How many rows the server counts in the window."""
        query = {"$filter": self._between(window) or None, "sap-client": self._sap_client}
        return int(self._client.get(f"{self._entity.path}/$count", query, {"Accept": "text/plain"}).json())

    def _part(self, size: int, at: datetime | None, key: str) -> Answered:
        """Some of the rows after (at, key), none of them after one that is missing."""
        changed, name = self._entity.changed, self._entity.key
        rows, more = self._ask(self._after(at, key), f"{changed},{name}", size)
        last = self._time(rows[-1]) if rows else None
        if not more or last is None:
            return Answered(rows, more)
        before = [row for row in rows if self._time(row) != last]
        group = self._within(last, key if last == at else "")
        return Answered(before + self._ask(group, name, size - len(before)).items, more=True)

    def _ask(self, condition: str | None, order: str, size: int) -> Answered:
        query = {"$filter": condition, "$orderby": order, "$top": size, **self._shape}
        answer = self._client.get(self._entity.path, query, {"Accept": "application/json"})
        found = self._dialect.answered(answer.json())
        if found.more and not found.items:
            raise RetryableError("the source answered with an empty page that promises more")
        for item in found.items:
            item[self._entity.changed] = canonical(item.get(self._entity.changed), self._entity.type)
        return Answered(found.items, found.more or len(found.items) >= size)

    def _after(self, at: datetime | None, key: str) -> str | None:
        if at is None:
            return None
        if not key:
            return self._from(at)
        return f"{self._from(at + self._grain)} or ({self._within(at, key)})"

    def _within(self, at: datetime, key: str) -> str:
        """The rows of one grain, those after `key`."""
        text = key.replace("'", "''")
        after = f" and {self._entity.key} gt '{text}'" if key else ""
        return f"{self._from(at)} and {self._until(at + self._grain)}{after}"

    def _between(self, window: Window) -> str:
        found = [self._from(window.start) if window.start else "", self._until(window.end) if window.end else ""]
        return " and ".join(one for one in found if one)

    def _from(self, at: datetime) -> str:
        return f"{self._entity.changed} ge {self._literal(at)}"

    def _until(self, at: datetime) -> str:
        return f"{self._entity.changed} lt {self._literal(at)}"

    def _literal(self, at: datetime) -> str:
        return self._dialect.literal(aligned(at, self._grain), self._entity.type)

    def _time(self, item: dict[str, Any]) -> datetime | None:
        """The shown time of an item. None where it has none, or nothing that can be read as one."""
        try:
            found = datetime.fromisoformat(item[self._entity.changed])
        except (TypeError, ValueError):
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)
