"""identify: find the customer of each touchpoint in the local copy of the identity map, and leave the rest to `link`.

The step has no state. An old copy still gives right answers (`streams/steps/identity.py`).
"""

from collections.abc import Sequence

from schemas.records.families import FAMILIES
from schemas.wire.topics import IDENTITY_REQUESTS, source_topic
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.steps.identity import Lookup, find_known_customer
from streams.steps.resolved import forward_to_customer


class Identify:
    """Step from all source topics to `touchline.resolved` or `touchline.identity-requests`."""

    name = "identify"
    topics = tuple(source_topic(source) for source in FAMILIES)
    table = ""
    changelog = ""
    row_group_prefix_bytes = 0
    max_row_bytes = 0

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs = []
        for record in records:
            if record.name in FAMILIES:
                outputs.append(self._route(record))
            else:
                refuse(record, unexpected_schema(record, self.name))
        return outputs

    def _route(self, record: Record) -> Output:
        customer_id = find_known_customer(record.fields["identifiers"], self._lookup)
        if customer_id is None:
            return Output(IDENTITY_REQUESTS, 0, record.fields["event_id"], record.value)
        return forward_to_customer(record.fields, record.value, customer_id)
