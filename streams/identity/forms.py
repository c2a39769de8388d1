"""Forms of a trait: the pieces from which compound keys are made, each a pure function of the source's spelling.

Every form starts from the folded text: Unicode NFKC, casefold, without diacritics, letters and digits only. Placeholders and
unreadable dates give an empty text, which means that the trait is missing.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

MAX_CACHED = 50_000
PLACEHOLDERS = frozenset(
    {
        "anonymous",
        "guest",
        "missing",
        "na",
        "nan",
        "nil",
        "nn",
        "none",
        "notavailable",
        "notgiven",
        "null",
        "test",
        "tester",
        "undefined",
        "unknown",
        "x",
        "xx",
        "xxx",
    }
)
PLACEHOLDER_DATES = frozenset({"00010101", "18000101", "18991230", "19000101", "19700101", "99991231"})
LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"})
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
YEAR_FIRST = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ].*)?")
SOUND_CODES = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556", "hw")
Form = Callable[[str], str]


@lru_cache(MAX_CACHED)
def fold(value: str) -> str:
    """Return the letters and digits of a text in one spelling, or an empty text for a placeholder."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", value).casefold()).translate(LETTERS)
    folded = unicodedata.normalize("NFC", "".join([character for character in text if _is_kept(character)]))
    return "" if folded in PLACEHOLDERS or not folded.strip("0") else folded


def _is_kept(character: str) -> bool:
    """Return whether a character is a letter, a digit or a vowel sign. Diacritics of Latin, Greek and Cyrillic are left out."""
    return character.isalnum() or (unicodedata.category(character)[0] == "M" and not "\u0300" <= character <= "\u036f")


@lru_cache(MAX_CACHED)
def encode_sound(value: str) -> str:
    """Return the American Soundex code of a Latin name. A name with other letters is returned folded."""
    name = fold(value)
    if not name.isascii():
        return name
    letters = "".join([character for character in name if character.isalpha()])
    if not letters:
        return ""
    codes = re.sub(r"(\d)\1+", r"\1", (letters[0] + letters[1:].replace("h", "").replace("w", "")).translate(SOUND_CODES))
    first = letters[0].translate(SOUND_CODES)
    digits = re.sub(r"\D", "", codes[1:] if first.isdigit() else codes)
    return f"{letters[0]}{digits}000"[:4]


@lru_cache(MAX_CACHED)
def read_date(value: str) -> str:
    """Return a date as YYYYMMDD. ISO dates and `31.12.1999` are readable; dates such as `03/04/1999` have two meanings."""
    text = value.strip()
    if match := YEAR_FIRST.fullmatch(text):
        year, month, day = match.groups()
    elif match := DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    else:
        return ""
    date = f"{year}{int(month):02}{int(day):02}"
    return "" if date in PLACEHOLDER_DATES or not 1 <= int(month) <= 12 or not 1 <= int(day) <= 31 else date


def _keep_first(count: int) -> Form:
    return lambda value: folded[:count] if len(folded := fold(value)) >= count else ""


def _keep_last(count: int) -> Form:
    return lambda value: folded[-count:] if len(folded := fold(value)) >= count else ""


FORMS: dict[str, Form] = {
    "text": fold,
    "soundex": encode_sound,
    "sorted": lambda value: "".join(sorted(fold(value))),
    "date": read_date,
    "year": lambda value: read_date(value)[:4],
    "year_month": lambda value: read_date(value)[:6],
    "year_day": lambda value: date[:4] + date[6:] if (date := read_date(value)) else "",
    "month_day": lambda value: read_date(value)[4:],
    **{f"first{count}": _keep_first(count) for count in range(1, 9)},
    **{f"last{count}": _keep_last(count) for count in range(1, 9)},
}
