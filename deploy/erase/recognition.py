"""Recognition of erased people without their identifiers: each identifier of a record is hashed and compared. Pure."""

from collections.abc import Iterator

from deploy.erase.topics import list_ids_in
from schemas.errors import RecordError
from schemas.records.identifiers import identifier_id
from schemas.wire.codec import Fields, decode

NESTED = {"resolved": "touchpoint", "dead_letter": "payload"}
PAIRS = (("kind", "value"), ("other_kind", "other_value"))


class Recogniser:
    """Search for any of the erased ids. It sees only records in the wire format, and texts in their fields of identifiers."""

    def __init__(self, secret: bytes, ids: frozenset[bytes]) -> None:
        self._secret = secret
        self._ids = ids

    def has_value(self, content: bytes | None) -> bool:
        """Return whether the record names an erased identifier in clear."""
        return any(identifier_id(self._secret, kind, value) in self._ids for kind, value in _list_identifiers(content))

    def has_id(self, content: bytes | None) -> bool:
        """Return whether the bytes are an erased id, start with one after the first byte, or are a record with one."""
        if not content:
            return False
        if content[:16] in self._ids or content[1:17] in self._ids:
            return True
        return not self._ids.isdisjoint(list_ids_in(_decode(content)))


def _list_identifiers(content: bytes | None) -> Iterator[tuple[str, str]]:
    fields = _decode(content)
    for kind, value in PAIRS:
        if fields.get(kind) and fields.get(value):
            yield fields[kind], fields[value]
    for each in fields.get("identifiers") or ():
        if isinstance(each, dict):
            yield each["kind"], each["value"]
    if nested := fields.get("nested"):
        yield from _list_identifiers(nested)


def _decode(content: bytes | None) -> Fields:
    """Return the fields of a record, with the bytes of a record in it as `nested`; none for other bytes."""
    try:
        name, fields = decode(content)
    except RecordError:
        return {}
    return {**fields, "nested": fields[NESTED[name]]} if name in NESTED else fields
