"""The person to erase: identifiers with their keyed ids. Pure."""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple


class KnownIdentifier(NamedTuple):
    """One identifier: its keyed id, kind, normalised value, the customer that owns it, and whether many people share it."""

    identifier_id: bytes
    kind: str
    value: str
    customer_id: bytes
    is_shared: bool


class Person(NamedTuple):
    """A customer and all identifiers that it owns."""

    customer_id: bytes
    identifiers: tuple[KnownIdentifier, ...]

    @property
    def ids(self) -> list[bytes]:
        """Return the keyed ids in ascending order. The customer id is one of them, as each former one is."""
        return sorted({self.customer_id, *(each.identifier_id for each in self.identifiers)})

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of all keyed ids. With the identifiers and the secret, an auditor computes the same digest."""
        return digest_ids(self.ids)


def digest_ids(ids: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of keyed ids in ascending order."""
    return sha256(b"".join(sorted(ids))).digest()
