"""Reader of one entity set in the order of time and key, although the server may sort by a finer time than it shows.

Rows with the same shown time (the same grain: a millisecond or a day) have an order that no filter can express. If a page ends
within such a group, the reader requests the group again, sorted by key. Filters therefore use only ranges of times, never equal
times. If the server sends fewer rows than requested, the reader requests the next ones itself and does not follow links.
"""

from datetime import UTC, datetime
from typing import Any

from connectors.contract import Window
from connectors.http.client import Client
from connectors.odata.dialects import Dialect, Item, Page, align_time, grain_of, normalize_time
from connectors.odata.settings import EntitySet
from schemas.errors import RetryableError


class Reader:
    """One entity set of one server."""

    def __init__(self, client: Client, dialect: Dialect, entity: EntitySet, columns: list[str], sap_client: str | None) -> None:
        self._client, self._dialect, self._entity = client, dialect, entity
        self._grain = grain_of(entity.type)
        names = dict.fromkeys([entity.key, entity.changed, *columns, *entity.fields])
        fields = [name for name in names if name not in entity.expand]
        self._options = {**dialect.select_options(fields, entity.expand), "sap-client": sap_client}
        self._sap_client = sap_client

    def fetch_page(self, size: int, at: datetime | None, key: str) -> list[Item]:
        """Return at most `size` items after (at, key) in the order of time and key; fewer only at the end."""
        items: list[Item] = []
        more = True
        while more and len(items) < size:
            part, more = self._fetch_part(size - len(items), at, key)
            if part:
                at, key = self._parse_time(part[-1]), str(part[-1].get(self._entity.key) or "")
            items += part
        return items

    def count(self, window: Window) -> int:
        """Return the server's number of rows in the window."""
        query = {"$filter": self._build_window(window) or None, "sap-client": self._sap_client}
        return int(self._client.get(f"{self._entity.path}/$count", query, {"Accept": "text/plain"}).json())

    def _fetch_part(self, size: int, at: datetime | None, key: str) -> Page:
        """Return the next rows after (at, key) without a gap between them."""
        changed, name = self._entity.changed, self._entity.key
        rows, more = self._request(self._build_after(at, key), f"{changed},{name}", size)
        last = self._parse_time(rows[-1]) if rows else None
        if not more or last is None:
            return Page(rows, more)
        before = [row for row in rows if self._parse_time(row) != last]
        group = self._build_within(last, key if last == at else "")
        return Page(before + self._request(group, name, size - len(before)).items, more=True)

    def _request(self, condition: str | None, order: str, size: int) -> Page:
        query = {"$filter": condition, "$orderby": order, "$top": size, **self._options}
        answer = self._client.get(self._entity.path, query, {"Accept": "application/json"})
        page = self._dialect.parse_page(answer.json())
        if page.more and not page.items:
            raise RetryableError("the source sent an empty page with a link to more rows")
        for item in page.items:
            item[self._entity.changed] = normalize_time(item.get(self._entity.changed), self._entity.type)
        return Page(page.items, page.more or len(page.items) >= size)

    def _build_after(self, at: datetime | None, key: str) -> str | None:
        if at is None:
            return None
        if not key:
            return self._build_from(at)
        return f"{self._build_from(at + self._grain)} or ({self._build_within(at, key)})"

    def _build_within(self, at: datetime, key: str) -> str:
        """Return the filter for the rows of one grain, after `key` if given."""
        text = key.replace("'", "''")
        after = f" and {self._entity.key} gt '{text}'" if key else ""
        return f"{self._build_from(at)} and {self._build_until(at + self._grain)}{after}"

    def _build_window(self, window: Window) -> str:
        bounds = [self._build_from(window.start) if window.start else "", self._build_until(window.end) if window.end else ""]
        return " and ".join(one for one in bounds if one)

    def _build_from(self, at: datetime) -> str:
        return f"{self._entity.changed} ge {self._format_literal(at)}"

    def _build_until(self, at: datetime) -> str:
        return f"{self._entity.changed} lt {self._format_literal(at)}"

    def _format_literal(self, at: datetime) -> str:
        return self._dialect.format_literal(align_time(at, self._grain), self._entity.type)

    def _parse_time(self, item: dict[str, Any]) -> datetime | None:
        """Return the shown time of an item, or None if it has none or an invalid one."""
        try:
            time = datetime.fromisoformat(item[self._entity.changed])
        except (TypeError, ValueError):
            return None
        return time if time.tzinfo else time.replace(tzinfo=UTC)
