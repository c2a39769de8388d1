"""Lookup of the person to erase: in the views, then among earlier erasures, else as an identifier that no row has yet."""

from collections.abc import Callable

from deploy.erase.person import KnownIdentifier, Person
from deploy.erase.queries import ErasureStore
from deploy.identity.lookup import Lookup, parse_lookup
from deploy.identity.queries import UNKNOWN_ID, UNKNOWN_IDENTIFIER, IdentityReader
from schemas.errors import ConfigError
from schemas.records.identifiers import identifier_id
from streams.identity.compound import KIND_PREFIX

SHARED = "many people share this identifier, so it names no single person: give another identifier of the person"
NEEDS_KIND = "no customer has this identifier: give its kind, such as email:ann@example.com, to keep it out from now on"


def find_person(reader: IdentityReader, store: ErasureStore, text: str, load_secret: Callable[[], bytes]) -> Person:
    """Return the person with all its identifiers.

    The views hide a person whose erasure was interrupted, so the ids then come from `touchline_store.erasures`. An identifier
    that nothing names yet is a person of its own. Raises ConfigError for a shared or ambiguous identifier, or an unknown id.
    """
    lookup = parse_lookup(text)
    try:
        identity = reader.identity(lookup)
    except ConfigError as error:
        if str(error) not in (UNKNOWN_ID, UNKNOWN_IDENTIFIER):
            raise
        return _find_hidden(store, lookup, load_secret)
    customer = identity.customer_id.bytes
    owned = [
        KnownIdentifier(each.identifier_id.bytes, each.kind, each.value, each.customer_id.bytes, each.is_shared)
        for each in identity.identifiers
    ]
    if owned and all(each.is_shared for each in owned):
        raise ConfigError(SHARED)
    return Person(customer, tuple(each for each in owned if not each.is_shared))


def _find_hidden(store: ErasureStore, lookup: Lookup, load_secret: Callable[[], bytes]) -> Person:
    known = hash_candidates(lookup, load_secret)
    ids = [each.identifier_id for each in known] or ([lookup.id.bytes] if lookup.id else [])
    if not ids:
        raise ConfigError(NEEDS_KIND)
    hidden = store.find_hidden(ids)
    customers = {customer for _, customer in hidden}
    if len(customers) > 1:
        raise ConfigError("more than one erased person has this identifier: give kind:system/value")
    if not customers:
        if lookup.id:
            raise ConfigError(UNKNOWN_ID)
        return Person(ids[0], tuple(known))
    customer = customers.pop()
    stored = store.stored_values(sorted({*ids, *(each for each, _ in hidden)}))
    values = {each.identifier_id: each for each in known} | {each.identifier_id: each for each in stored}
    empty = KnownIdentifier(b"", "", "", customer, is_shared=False)
    found = [values.get(each, empty._replace(identifier_id=each)) for each, _ in sorted(hidden)]
    if all(each != customer for each, _ in hidden):
        found.append(empty._replace(identifier_id=customer, kind=KIND_PREFIX))  # `hide` leaves out compound keys only
    return Person(customer, tuple(found))


def hash_candidates(lookup: Lookup, load_secret: Callable[[], bytes]) -> list[KnownIdentifier]:
    """Return the identifiers that a text may mean, with their keyed ids. Values without a kind have no id."""
    candidates = [(kind, value) for kind, value in lookup.candidates if kind]
    if not candidates:
        return []
    secret = load_secret()
    hashed = [(identifier_id(secret, kind, value), kind, value) for kind, value in candidates]
    return [KnownIdentifier(each, kind, value, each, is_shared=False) for each, kind, value in hashed]
