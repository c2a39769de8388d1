"""Text that names a customer or an identifier: its possible meanings. Pure."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from schemas.errors import ConfigError
from schemas.records.identifiers import GLOBAL_KINDS
from schemas.records.normalisation.refusal import RefusedError
from schemas.records.normalisation.rules import normalise

PHONE_CHARACTERS = "+0123456789 ()/-."
NO_IDENTIFIER = "this is no identifier: give a customer id, an e-mail address, a phone number, or kind:value"


class Candidate(NamedTuple):
    """One possible meaning of a text: a normalised value of one kind, or of any system's kind where `kind` is None."""

    kind: str | None
    value: str


class Lookup(NamedTuple):
    """An id of a customer or identifier, or the identifiers that a text may mean."""

    id: UUID | None
    candidates: tuple[Candidate, ...] = ()


def parse_lookup(text: str) -> Lookup:
    """Return the meaning of an id, `kind:value`, or a bare e-mail address, phone number or other identifier.

    A bare text is also tried as it is: `0010000012` may be a phone number or the customer number of an ERP system.
    Raises ConfigError for a text that can name no customer.
    """
    try:
        return Lookup(UUID(text))
    except ValueError:
        pass
    kind, colon, value = text.partition(":")
    found = list(_list_candidates(kind, value) if colon else _guess_candidates(text))
    if kind not in GLOBAL_KINDS:
        found += [Candidate(None, bare) for bare in _normalise("", text)]
    if not found:
        raise ConfigError(NO_IDENTIFIER)
    return Lookup(None, tuple(found))


def _list_candidates(kind: str, text: str) -> Iterator[Candidate]:
    for value in _normalise(kind, text) if kind else ():
        yield Candidate(kind, value)


def _guess_candidates(text: str) -> Iterator[Candidate]:
    yield from _list_candidates("email", text)
    if not text.strip(PHONE_CHARACTERS):  # `A-1234567` has seven digits, too, but is no phone number
        yield from _list_candidates("phone", text)


def _normalise(kind: str, text: str) -> list[str]:
    """Return the normal spellings of a text, without the country of a feed; none for a text that identifies no one."""
    try:
        return [normal.value for normal in normalise(kind, text)]
    except RefusedError:
        return []
