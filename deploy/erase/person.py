"""The person to erase: identifiers with their keyed ids. Pure.

A compound key, such as a name and birth date, is no property of one person. An erasure deletes its value from the rows of the
person, and leaves touchpoints of namesakes alone.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from streams.identity.compound import KIND_PREFIX


class KnownIdentifier(NamedTuple):
    """One identifier: its keyed id, kind, normalised value, the customer that owns it, and whether many people share it."""

    identifier_id: bytes
    kind: str
    value: str
    customer_id: bytes
    is_shared: bool

    @property
    def is_key(self) -> bool:
        """Return whether this is a compound key."""
        return self.kind.startswith(KIND_PREFIX)


class Person(NamedTuple):
    """A customer and all identifiers that it owns."""

    customer_id: bytes
    identifiers: tuple[KnownIdentifier, ...]

    @property
    def ids(self) -> list[bytes]:
        """Return the keyed ids that name this person alone, in ascending order: the customer id, each former one, all others.

        Compound keys are left out, unless the person has nothing else.
        """
        everything = {self.customer_id, *(each.identifier_id for each in self.identifiers)}
        return sorted(everything.difference(self.keys) or everything)

    @property
    def keys(self) -> list[bytes]:
        """Return the keyed ids of compound keys in ascending order. A customer id may be one of them."""
        return sorted({each.identifier_id for each in self.identifiers if each.is_key})

    @property
    def ids_without_keys(self) -> list[bytes]:
        """Return the keyed ids that are no compound keys, in ascending order. There may be none."""
        return sorted(set(self.ids).difference(self.keys))

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of all keyed ids. With the identifiers and the secret, an auditor computes the same digest."""
        return digest_ids(self.ids)


def digest_ids(ids: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of keyed ids in ascending order."""
    return sha256(b"".join(sorted(ids))).digest()
