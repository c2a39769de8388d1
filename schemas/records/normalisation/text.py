"""Text of all kinds: Unicode, invisible characters, and the marks that spreadsheets and URIs put around a value."""

import re
from unicodedata import category, normalize
from urllib.parse import unquote

# Characters that show nothing, in addition to the Unicode categories Cc (control) and Cf (format: zero width, direction, BOM).
OTHER_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u180b\u180c\u180d\u180f")
VARIATION_SELECTORS = (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)
QUOTED = re.compile(r'=?"([^"]*)"')
TEXT_MARK = re.compile(r"'(?=[\d=+])")  # an apostrophe in front keeps a spreadsheet from reading a number
URI = re.compile(r"(?:mailto|tel|callto|sms|whatsapp):(?://)?", re.IGNORECASE)
WHOLE_FLOAT = re.compile(r"\d+\.0")


def clean_text(text: str) -> str:
    """Return the text in Unicode NFKC, without invisible characters and marks, with single spaces."""
    text = _clean_characters(text)
    while (inner := _strip_marks(text)) != text:
        text = inner
    return text


def _clean_characters(text: str) -> str:
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    shown = "".join(
        " " if each.isspace() else each for each in normalize("NFKC", text) if each.isspace() or not _is_invisible(each)
    )
    return " ".join(normalize("NFKC", shown).split())  # a mark may follow its letter only now


def _is_invisible(character: str) -> bool:
    if category(character) in ("Cc", "Cf") or character in OTHER_INVISIBLE:
        return True
    return any(first <= ord(character) <= last for first, last in VARIATION_SELECTORS)


def _strip_marks(text: str) -> str:
    """Remove one layer: quotes and `=` of a spreadsheet, its apostrophe, the scheme of a URI, the `.0` of a whole number."""
    if quoted := QUOTED.fullmatch(text):
        return quoted[1].strip()
    if mark := TEXT_MARK.match(text):
        return text[mark.end() :].strip()
    if scheme := URI.match(text):
        address = text[scheme.end() :]
        is_mail = scheme[0].lower().startswith("mailto")
        return _clean_characters(unquote(address.partition("?")[0] if is_mail else address))
    return text[:-2] if WHOLE_FLOAT.fullmatch(text) else text
