"""Functions of mappings, in addition to those of JMESPath: text to time, number, identifier or plain text.

Each function returns null for null. Its RecordError never contains the value. It checks constant arguments first, so that
compiling the mapping finds a wrong constant.
"""

import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jmespath import functions
from jmespath.functions import signature

from schemas.errors import RecordError
from schemas.records.fields import instant
from schemas.records.normalisation.text import clean_text

NUMBER = re.compile(r"[+-]?\d{1,20}([.,]\d{1,20})?", re.ASCII)
TAG = re.compile(r"(<[^<>]*>)")
HIDDEN = re.compile(r"<(script|style)\b", re.IGNORECASE)
MAX_HTML_CHARACTERS = 262_144
cached_zone = lru_cache(ZoneInfo)


def iso(value: Any, zone: Any) -> datetime | None:
    """Return the UTC time of an ISO 8601 text; `zone` applies if the text names none."""
    where = _zone(zone)
    if value is None:
        return None
    return _iso(_text(value, "iso() expects a text"), where)


@lru_cache(maxsize=65_536)
def _iso(text: str, where: ZoneInfo) -> datetime:
    try:
        return _utc(datetime.fromisoformat(text.strip()), where)
    except ValueError:
        raise RecordError("wrong_type", "iso() expects an ISO 8601 date and time") from None


def date(value: Any, layout: Any, zone: Any) -> datetime | None:
    """Return the UTC time of a text in the strptime format `layout`."""
    where = _zone(zone)
    if not isinstance(layout, str):
        raise RecordError("bad_mapping", "date() expects a strptime format as its second argument")
    if value is None:
        return None
    return _date(_text(value, "date() expects a text"), layout, where)


@lru_cache(maxsize=65_536)
def _date(text: str, layout: str, where: ZoneInfo) -> datetime:
    try:
        return _utc(datetime.strptime(text.strip(), layout), where)  # noqa: DTZ007 - _utc adds the zone
    except ValueError:
        raise RecordError("wrong_type", f"date() expects the format {layout}") from None


def epoch_ms(value: Any) -> datetime | None:
    """Return the UTC time of milliseconds since 1970."""
    millis = number(value)
    if millis is None:
        return None
    try:
        return instant(int(millis))
    except OverflowError:
        raise RecordError("absurd_date", "epoch_ms() is outside of the calendar") from None


def email(value: Any) -> str | None:
    """Return an e-mail address in lower case, or null for a text without @."""
    if value is None:
        return None
    text = _text(value, "email() expects a text").strip().lower()
    return text if "@" in clean_text(text) else None


def html_text(value: Any) -> str | None:
    """Return the words of an HTML text, separated by single spaces."""
    if value is None:
        return None
    text = _text(value, "html_text() expects a text")
    if len(text) > MAX_HTML_CHARACTERS:
        raise RecordError("too_long", f"html_text() takes at most {MAX_HTML_CHARACTERS} characters")
    words, skipped = [], ""
    for part in TAG.split(text):
        if skipped:
            skipped = "" if part.lower().startswith(f"</{skipped}") else skipped
        elif TAG.fullmatch(part):
            hidden = HIDDEN.match(part)
            skipped = hidden.group(1).lower() if hidden else ""
        else:
            words.append(part)
    return " ".join(html.unescape(" ".join(words)).split())


def lookup(value: Any, table: Any) -> Any:
    """Return the table's entry for the value, or its entry for `*`."""
    if not isinstance(table, dict):
        raise RecordError("bad_mapping", 'lookup() expects a JSON object in backquotes: lookup(state, `{"a": "b"}`)')
    if value is None:
        return None
    try:
        return table[to_identifier(value)]
    except KeyError:
        if "*" in table:
            return table["*"]
        raise RecordError("unknown_value", 'lookup() has no entry for this value, and none for "*"') from None


def to_identifier(value: Any) -> str | None:
    """Return a text, number or boolean as text without surrounding blanks, or null if nothing is left (in mappings: `id`)."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return str(int(value)) if value == value // 1 else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise RecordError("wrong_type", "id() expects a text, a number or a boolean")


def number(value: Any) -> Decimal | None:
    """Return the exact number of a number or a text like `12.5`, `12,5` or `-3`, or null for a blank text.

    `1,234` is refused because the comma may be a decimal or a thousands separator.
    """
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(repr(value))
    text = _text(value, "number() expects a number or its text").strip()
    if not text:
        return None
    match = NUMBER.fullmatch(text)
    if match is None:
        raise RecordError("wrong_type", "number() expects digits with at most one decimal point or comma")
    fraction = match.group(1) or ""
    if fraction.startswith(",") and len(fraction) == 4:
        raise RecordError("wrong_type", "number() cannot tell a decimal comma from a thousands separator before three digits")
    return Decimal(text.replace(",", "."))


CALLABLE: dict[str, Callable[..., Any]] = {
    "iso": iso,
    "date": date,
    "epoch_ms": epoch_ms,
    "email": email,
    "html_text": html_text,
    "lookup": lookup,
    "id": to_identifier,
    "number": number,
}


def to_text(value: Any) -> str:
    """Return any mapped value as attribute text; lists and objects as JSON."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if isinstance(value, str) else to_identifier(value) or ""


class Functions(functions.Functions):
    """The same functions, for expressions that JMESPath evaluates. With empty `types`, the functions check their arguments."""

    _func_iso = signature({"types": []}, {"types": []})(lambda _, value, zone: iso(value, zone))
    _func_date = signature({"types": []}, {"types": []}, {"types": []})(lambda _, value, layout, zone: date(value, layout, zone))
    _func_epoch_ms = signature({"types": []})(lambda _, value: epoch_ms(value))
    _func_email = signature({"types": []})(lambda _, value: email(value))
    _func_html_text = signature({"types": []})(lambda _, value: html_text(value))
    _func_lookup = signature({"types": []}, {"types": []})(lambda _, value, table: lookup(value, table))
    _func_id = signature({"types": []})(lambda _, value: to_identifier(value))
    _func_number = signature({"types": []})(lambda _, value: number(value))


def _text(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise RecordError("wrong_type", expected)
    return value


def _zone(name: Any) -> ZoneInfo:
    try:
        return cached_zone(name)
    except (KeyError, ValueError, TypeError, OSError):
        raise RecordError("bad_mapping", "the time zone is unknown: use a name like 'UTC' or 'Europe/Berlin'") from None


def _utc(at: datetime, where: ZoneInfo) -> datetime:
    try:
        return (at if at.tzinfo else at.replace(tzinfo=where)).astimezone(UTC)
    except OverflowError:
        raise RecordError("absurd_date", "the time is outside of the calendar") from None
