"""The differences between OData 2 and 4 in requests and answers. Pure. Items have the same form for both versions."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from connectors.odata.settings import EDM
from schemas.errors import ConfigError
from schemas.records.fields import EPOCH

DATE = re.compile(r"/Date\((-?\d{1,15})([+-]\d{1,4})?\)/")
Item = dict[str, Any]


class Page(NamedTuple):
    """The items of one answer, and whether the server has more of them."""

    items: list[Item]
    more: bool


class Dialect(Protocol):
    """One version of OData."""

    def select_options(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        """Return the query options that select the properties of an answer."""
        ...

    def format_literal(self, at: datetime, kind: EDM) -> str:
        """Return a UTC time as a literal of a filter."""
        ...

    def parse_page(self, body: Any) -> Page:
        """Return the items of an answer. Raises ConfigError if it is not an answer of this version."""
        ...


class V2:
    """OData 2: JSON below `d`, times in milliseconds since 1970, literals with a type."""

    def select_options(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        below = [f"{name}/{one}" for name, given in expand.items() for one in given]
        return {"$format": "json", "$select": ",".join([*fields, *below]), "$expand": ",".join(expand) or None}

    def format_literal(self, at: datetime, kind: EDM) -> str:
        text = _format_milliseconds(at)
        return f"datetimeoffset'{text}Z'" if kind == "DateTimeOffset" else f"datetime'{text}'"

    def parse_page(self, body: Any) -> Page:
        data = body.get("d") if isinstance(body, dict) else None
        if isinstance(data, dict):
            return Page([_simplify(item) for item in _read_list(data, "results", 2)], "__next" in data)
        return Page([_simplify(item) for item in _read_list(body, "d", 2)], more=False)


class V4:
    """OData 4: JSON below `value`, ISO 8601 times, literals without a type."""

    def select_options(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        below = ",".join(f"{name}($select={','.join(given)})" for name, given in expand.items())
        return {"$select": ",".join(fields), "$expand": below or None}

    def format_literal(self, at: datetime, kind: EDM) -> str:
        return at.date().isoformat() if kind == "Date" else f"{_format_milliseconds(at)}Z"

    def parse_page(self, body: Any) -> Page:
        more = isinstance(body, dict) and "@odata.nextLink" in body
        return Page([_simplify(item) for item in _read_list(body, "value", 4)], more)


DIALECTS: dict[int, Dialect] = {2: V2(), 4: V4()}


def grain_of(kind: EDM) -> timedelta:
    """Return the precision of shown times. OData 2 shows milliseconds, even if the server sorts by finer times."""
    return timedelta(days=1) if kind == "Date" else timedelta(milliseconds=1)


def align_time(at: datetime, grain: timedelta) -> datetime:
    """Return the first time at or after `at` that is a multiple of the grain."""
    over = (at - EPOCH) % grain
    return at - over + grain if over else at


def normalize_time(value: Any, kind: EDM) -> Any:
    """Return a time in the form of both versions: a date, or UTC with milliseconds. Return any other value unchanged."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.date().isoformat() if kind == "Date" else at.isoformat(timespec="milliseconds")


def _format_milliseconds(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _read_list(body: Any, name: str, version: int) -> list[Any]:
    items = body.get(name) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise ConfigError(
            f"the answer is not a list of OData {version}: is `odata` right, and is the path that of an entity set?"
        )
    return items


def _simplify(value: Any) -> Any:
    """Return the value without metadata and links, with plain lists and ISO 8601 times."""
    if isinstance(value, list):
        return [_simplify(one) for one in value]
    if isinstance(value, dict):
        if isinstance(value.get("results"), list):
            return _simplify(value["results"])
        return {name: _simplify(one) for name, one in value.items() if not _is_metadata(name, one)}
    match = DATE.fullmatch(value) if isinstance(value, str) else None
    return _from_milliseconds(int(match[1])) if match else value


def _is_metadata(name: str, value: Any) -> bool:
    return name == "__metadata" or "@" in name or (isinstance(value, dict) and "__deferred" in value)


def _from_milliseconds(milliseconds: int) -> str | None:
    try:
        return (EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None
