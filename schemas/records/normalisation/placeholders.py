"""Placeholders: values that systems and people write where they know no identifier. Each would join strangers.

Role addresses (info@, office@) are no placeholders: they reach someone. The identity map stops linking by them when too many
people use them.
"""

import re
from collections.abc import Sequence
from functools import cache

from schemas.records.normalisation.text import clean_text

# fmt: off
TEXTS = frozenset({
    "-1", "0", "null", "nil", "nan", "na", "n/a", "n.a", "n.a.", "none", "undefined", "undef", "void", "empty", "blank",
    "missing", "unknown", "unbekannt", "inconnu", "desconocido", "sconosciuto", "onbekend", "anonymous", "anonym", "anonyme",
    "anonimo", "guest", "gast", "invité", "ospite", "dummy", "default", "tbd", "tba", "tbc", "true", "false", "yes", "no",
    "test", "testing", "tester", "testuser", "test user", "xx", "asdf", "qwerty", "\\n", "#n/a", "#na", "#name?", "#ref!",
    "#value!", "#null!", "#num!", "#div/0!", "#error!", "keine", "kein", "k.a.", "keine angabe", "s/n", "sans objet", "not set",
    "not available", "not applicable", "not provided", "not known", "no email", "no phone", "no value", "system.object",
})
# fmt: on
PATTERNS = re.compile(
    r"""
      [\W_]*                                  # only signs: "-", "---", "???", "####"
    | \[object\ \w+\]                         # a JavaScript object as text
    | ([a-z])\1{2,}                           # "xxx", "aaaa"
    | [([<{]\ ?(?:TEXTS)\ ?[)\]>}]           # "(null)", "<none>"
    | \{\{.*\}\} | \$\{.*\} | <%.*%> | \*\|.*\|\* | %%.*%%   # a template that nobody filled in
    """.replace("TEXTS", "|".join(sorted(map(re.escape, TEXTS)))),
    re.VERBOSE,
)
MIN_REPEATED_CHARACTERS = 6
NO_REPLY = re.compile(r"(?:no|do[-_.]?not|nicht)[-_.]?(?:reply|respond|response|antworten)(?:[-_.+].*)?")
LOCAL_PARTS = re.compile(
    r"test|test[-_.]?(?:er|user)|null|none|nil|undefined|unknown|unbekannt|anonymous|dummy|invalid|guest|nobody|mailer-daemon"
    r"|(?:no|keine?)[-_.]?(?:e?mail|email)|([a-z])\1{2,}"
)


def is_placeholder(text: str, own: Sequence[str] = ()) -> bool:
    """Return whether a clean text is a placeholder, by the built-in list or by `own`.

    In `own`, case does not count and `*` stands for any characters. An entry that begins with `!` is no placeholder.
    """
    folded = text.casefold()
    if own:
        refused, accepted = _compile(tuple(own))
        if accepted.fullmatch(folded):
            return False
        if refused.fullmatch(folded):
            return True
    return folded in TEXTS or PATTERNS.fullmatch(folded) is not None or _is_repeated(folded) or _is_placeholder_address(folded)


def _is_placeholder_address(text: str) -> bool:
    """Return whether the text is an address whose part before the @ names no person."""
    local, at, _ = text.partition("@")
    return bool(at) and (LOCAL_PARTS.fullmatch(local) or NO_REPLY.fullmatch(local)) is not None


def is_placeholder_number(digits: str) -> bool:
    """Return whether the digits of a phone number were made up: one digit repeated, or all digits in order."""
    bare = digits.lstrip("0")
    return len(set(bare)) <= 1 or any(bare in order for order in ("1234567890", "9876543210"))


def _is_repeated(text: str) -> bool:
    """Return whether one character fills the text: "000", "999999", the UUID of only zeros or only f."""
    bare = re.sub(r"[-.\s]", "", text)
    return not bare.strip("0") or (len(bare) >= MIN_REPEATED_CHARACTERS and len(set(bare)) == 1)


@cache
def _compile(own: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of the refused and of the accepted texts."""
    folded = [clean_text(each).casefold() for each in own]
    refused = [each for each in folded if not each.startswith("!")]
    accepted = [each[1:] for each in folded if each.startswith("!")]
    return _join(refused), _join(accepted)


def _join(texts: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(each).replace(r"\*", ".*") for each in texts) or r"(?!)")
