"""The reason of an erasure and the person who runs it. Both are kept for ever, so they must not name the erased person. Pure."""

from typing import NamedTuple

from deploy.erase.person import Person
from deploy.erase.spellings import Finder
from deploy.identity.lookup import parse_lookup
from schemas.errors import ConfigError


class Request(NamedTuple):
    """The reason of an erasure, and the person who runs it."""

    reason: str
    who: str


def make_finder(person: Person, typed: str) -> Finder:
    """Return the search for the person: its identifiers, its ids, and the text that names it on the command line."""
    meanings = [(kind, value) for kind, value in parse_lookup(typed).candidates if kind]
    return Finder([*meanings, *((each.kind, each.value) for each in person.identifiers)], person.ids, [typed])


def check_request(request: Request, finder: Finder) -> None:
    """Raise ConfigError where the reason or the name contains an identifier of the person."""
    for option, text in (("--reason", request.reason), ("--who", request.who)):
        if finder.has_value(text.encode()):
            raise ConfigError(f"{option} contains an identifier of the person and is kept for ever: give it without one")
