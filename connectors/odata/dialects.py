"""What OData 2 and 4 write differently, in questions and in answers; pure. Items leave here in one shape for both versions."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from connectors.odata.settings import EDM
from schemas.errors import ConfigError
from schemas.records.fields import EPOCH

DATE = re.compile(r"/Date\((-?\d{1,15})([+-]\d{1,4})?\)/")
Item = dict[str, Any]


class Answered(NamedTuple):
    """The items of one answer, and whether the server kept some back."""

    items: list[Item]
    more: bool


class Dialect(Protocol):
    """One version of OData."""

    def shape(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        """The options that say which properties an answer has."""
        ...

    def literal(self, at: datetime, kind: EDM) -> str:
        """A UTC time as a filter writes it."""
        ...

    def answered(self, body: Any) -> Answered:
        """The items of an answer's JSON. Raises ConfigError where it is none of this version."""
        ...


class V2:
    """JSON below `d`, times as milliseconds since 1970, literals that name their type."""

    def shape(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        below = [f"{name}/{one}" for name, given in expand.items() for one in given]
        return {"$format": "json", "$select": ",".join([*fields, *below]), "$expand": ",".join(expand) or None}

    def literal(self, at: datetime, kind: EDM) -> str:
        text = _text(at)
        return f"datetimeoffset'{text}Z'" if kind == "DateTimeOffset" else f"datetime'{text}'"

    def answered(self, body: Any) -> Answered:
        found = body.get("d") if isinstance(body, dict) else None
        if isinstance(found, dict):
            return Answered([_plain(item) for item in _listed(found, "results", 2)], "__next" in found)
        return Answered([_plain(item) for item in _listed(body, "d", 2)], more=False)


class V4:
    """JSON below `value`, times as ISO 8601, bare literals."""

    def shape(self, fields: Sequence[str], expand: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        below = ",".join(f"{name}($select={','.join(given)})" for name, given in expand.items())
        return {"$select": ",".join(fields), "$expand": below or None}

    def literal(self, at: datetime, kind: EDM) -> str:
        return at.date().isoformat() if kind == "Date" else f"{_text(at)}Z"

    def answered(self, body: Any) -> Answered:
        more = isinstance(body, dict) and "@odata.nextLink" in body
        return Answered([_plain(item) for item in _listed(body, "value", 4)], more)


DIALECTS: dict[int, Dialect] = {2: V2(), 4: V4()}


def tick(kind: EDM) -> timedelta:
    """The grain that times are told apart by: OData 2 writes milliseconds, even where the server sorts by finer ones."""
    return timedelta(days=1) if kind == "Date" else timedelta(milliseconds=1)


def aligned(at: datetime, grain: timedelta) -> datetime:
    """The first time at or after `at` that is a whole number of grains."""
    over = (at - EPOCH) % grain
    return at - over + grain if over else at


def canonical(value: Any, kind: EDM) -> Any:
    """A time as both versions give it: a date, or UTC with milliseconds. None, and whatever is no time, as it is."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.date().isoformat() if kind == "Date" else at.isoformat(timespec="milliseconds")


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _listed(body: Any, name: str, version: int) -> list[Any]:
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise ConfigError(f"the answer is no list of OData {version}: is `odata` right, and does the path name an entity set?")
    return found


def _plain(value: Any) -> Any:
    """Without what describes the item or only points elsewhere; lists as lists, times as ISO 8601."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        if isinstance(value.get("results"), list):
            return _plain(value["results"])
        return {name: _plain(one) for name, one in value.items() if not _described(name, one)}
    found = DATE.fullmatch(value) if isinstance(value, str) else None
    return _instant(int(found[1])) if found else value


def _described(name: str, value: Any) -> bool:
    return name == "__metadata" or "@" in name or (isinstance(value, dict) and "__deferred" in value)


def _instant(milliseconds: int) -> str | None:
    try:
        return (EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None
