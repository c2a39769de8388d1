"""Search for identifiers in bytes that no schema describes: texts of sources, JSON, damaged records. Pure.

| kind | found as |
|---|---|
| all | the normalised value, in any letter case, as a whole word |
| `phone`, nine digits or more | in addition, its last nine digits, with separators (blank . - / parenthesis) or without |
| kinds with a system or programme in front | in addition, the value behind it, from eight characters on |

Avro and MessagePack write the length of a text in front of it. Such a byte can be a letter or digit, so a text behind its own
length is a whole word, too.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MIN_BARE_CHARACTERS = 8
PHONE_DIGITS = 9
SEPARATORS = b" \t().-/"
WORD_BEFORE = rb"(?<![\w.%+\-])"
WORD_AFTER = rb"(?![\w\-]|[.@]\w)"


class Spelling(NamedTuple):
    """One way to write an identifier, in lower case. Separators are ignored if `is_number`."""

    text: bytes
    is_number: bool


def list_spellings(kind: str, value: str) -> list[Spelling]:
    """Return the spellings of a normalised value to search for."""
    if not value:
        return []
    bare = value.partition("/")[2]
    found = [Spelling(value.lower().encode(), is_number=False)]
    if kind == "phone":
        digits = re.sub(r"\D", "", bare or value)
        if len(digits) >= PHONE_DIGITS:
            found.append(Spelling(digits[-PHONE_DIGITS:].encode(), is_number=True))
    elif len(bare) >= MIN_BARE_CHARACTERS:
        found.append(Spelling(bare.lower().encode(), is_number=False))
    return found


class Finder:
    """Search for the spellings of some identifiers, and for keyed ids, in bytes."""

    def __init__(self, identifiers: Iterable[tuple[str, str]], ids: Sequence[bytes] = (), raw: Iterable[str] = ()) -> None:
        """`identifiers` are kinds and values. `raw` are other spellings, such as the one that a person typed."""
        spellings = {spelling for kind, value in identifiers for spelling in list_spellings(kind, value)}
        spellings |= {Spelling(text.lower().encode(), is_number=False) for text in raw if len(text) >= MIN_BARE_CHARACTERS}
        self.texts = sorted(each.text for each in spellings if not each.is_number)
        self.numbers = sorted(each.text for each in spellings if each.is_number)
        self._words = {text: _compile_word(text) for text in self.texts}
        self._ids = ids

    def has_value(self, content: bytes | None) -> bool:
        """Return whether the bytes contain one of the identifiers in clear."""
        if not content:
            return False
        lower = content.lower()
        if any(text in lower and self._words[text].search(lower) for text in self.texts):
            return True
        if not self.numbers:
            return False
        digits = lower.translate(None, SEPARATORS)
        return any(number in digits for number in self.numbers)

    def has_id(self, content: bytes | None) -> bool:
        """Return whether the bytes contain a keyed id, or the first half of one, as packed touchpoints do."""
        return content is not None and any(each[:8] in content for each in self._ids)


def _compile_word(text: bytes) -> re.Pattern[bytes]:
    word = re.escape(text)
    behind_length = b"|".join(b"(?<=" + re.escape(prefix) + b")" for prefix in list_length_prefixes(len(text)))
    return re.compile(b"(?:" + behind_length + b")" + word + b"|" + WORD_BEFORE + word + WORD_AFTER)


def list_length_prefixes(length: int) -> list[bytes]:
    """Return the bytes in front of a text of this length, in Avro and MessagePack, in lower case as the searched bytes are."""
    avro, rest = bytearray(), length << 1
    while rest >= 0x80:
        avro.append(rest & 0x7F | 0x80)
        rest >>= 7
    avro.append(rest)
    found = [bytes(avro)]
    if length < 32:
        found.append(bytes([0xA0 | length]))
    if length < 256:
        found.extend([bytes([0xD9, length]), bytes([0xC4, length])])
    return [prefix.lower() for prefix in found]
