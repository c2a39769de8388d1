"""identify: find the customer of each touchpoint in the local copy of the identity map, and leave the rest to `link`.

The step has no state. It resolves a touchpoint whose identifiers it knows and, for several of them, whose set `link` has seen
before. The touchpoint goes to the owner of its strongest unshared identifier. An old copy still gives right answers: a former
owner forwards the touchpoint (`streams/identity/routes.py`).
"""

from collections.abc import Callable, Sequence

from schemas.records.families import FAMILIES
from schemas.service import telemetry
from schemas.wire.topics import IDENTITY_REQUESTS, source_topic
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.identity.naming import Named, Naming
from streams.identity.rows import NODE
from streams.steps.identity import ERASED, FLAGS_AT, SHARED
from streams.steps.resolved import forward_to_customer

Lookup = Callable[[bytes], bytes | None]


class Identify:
    """Step from all source topics to `touchline.resolved` or `touchline.identity-requests`.

    `lookup` reads the copy. A touchpoint that names an erased identifier is dropped and counted.
    """

    name = "identify"
    topics = tuple(source_topic(source) for source in FAMILIES)
    table = ""
    changelog = ""
    row_group_prefix_bytes = 0
    max_row_bytes = 0

    def __init__(self, lookup: Lookup, naming: Naming) -> None:
        self._lookup = lookup
        self._naming = naming
        self._erased = telemetry.ERASED.labels(self.name)

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs = []
        for record in records:
            if record.name not in FAMILIES:
                refuse(record, unexpected_schema(record, self.name))
                continue
            named = self._naming.name(record.fields)
            owner = self.find_owner(named)
            if owner is None:
                outputs.append(Output(IDENTITY_REQUESTS, 0, record.fields["event_id"], record.value))
            elif owner:
                outputs.append(forward_to_customer(record.fields, record.value, owner, named.nodes))
            else:
                self._erased.inc()
        return outputs

    def find_owner(self, named: Named) -> bytes | None:
        """Return the customer of a touchpoint, None if `link` must decide, or an empty id for an erased identifier."""
        lookup = self._lookup
        owner, first, is_known = b"", b"", True
        for key in named.keys:
            row = lookup(key)
            if not row:
                is_known = False
                continue
            flags = row[FLAGS_AT]
            if flags & ERASED:
                return b""
            if not owner:
                if not flags & SHARED:
                    owner = row[:FLAGS_AT]
                elif not first:
                    first = row[:FLAGS_AT]
        if named.ignored and any((row := lookup(NODE + id_)) and row[FLAGS_AT] & ERASED for id_ in named.ignored):
            return b""
        if not is_known or (named.evidence_key and not lookup(named.evidence_key)):
            return None
        return owner or first
