"""link: the sequencer of the identity map. Its topic has one partition, so all decisions happen once and in one order.

A repeated decision gives the same result, even if a crash kept only part of the rows of the first one. Of two customers, the
one with the greater id stays, whatever else is known, so merges never form a cycle.
"""

from collections.abc import Sequence

import msgspec

from schemas.records.families import FAMILIES
from schemas.wire.codec import Fields, encode
from schemas.wire.topics import IDENTITY, IDENTITY_REQUESTS, IDENTITY_STATE, RESOLVED, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.steps.identity import (
    RULE,
    find_canonical_customer,
    former_customers_key,
    identifier_key,
    merge_key,
    new_customer_id,
)
from streams.steps.resolved import forward_to_customer


class CanonicalCustomer(msgspec.Struct, array_like=True):
    """A customer that was not merged into another, with the former customers that were merged into it."""

    former: list[bytes] = []


_decode_canonical = msgspec.msgpack.Decoder(CanonicalCustomer).decode
_encode_canonical = msgspec.msgpack.Encoder().encode


class Link:
    """Step from `touchline.identity-requests` to edges, merges and the touchpoint itself."""

    name = "link"
    topics = (IDENTITY_REQUESTS,)
    table = "identity"
    changelog = IDENTITY_STATE
    row_group_prefix_bytes = 0
    max_row_bytes = 64 * 1024

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs: list[Output] = []
        for record in records:
            if record.name in FAMILIES:
                outputs.extend(_Decision(record, rows).outputs())
            else:
                refuse(record, unexpected_schema(record, self.name))
        return outputs


def _keep_bytes(value: bytes | None) -> bytes | None:
    return value


def _read_canonical(value: bytes | None) -> CanonicalCustomer:
    return CanonicalCustomer() if value is None else _decode_canonical(value)


class _Decision:
    """Decision on the identifiers of one touchpoint against the current map."""

    def __init__(self, record: Record, rows: Rows) -> None:
        self.record = record
        self.fields = fields = record.fields
        self.rows = rows
        self.identifiers = {identifier_key(each["kind"], each["value"]): each for each in fields["identifiers"]}

    def outputs(self) -> list[Output]:
        edges = {key: self._lookup(key) for key in self.identifiers}
        known = list(dict.fromkeys(find_canonical_customer(first, self._lookup) for first in edges.values() if first))
        survivor = max(known) if known else self._new_customer_id()
        changes = [self._add_edge(key, survivor) for key, edge in edges.items() if edge is None]
        for customer in known:
            if customer != survivor:
                changes.extend(self._merge(customer, survivor))
        return [*changes, forward_to_customer(self.fields, self.record.value, survivor)]

    def _lookup(self, key: bytes) -> bytes | None:
        value: bytes | None = self.rows.get(key, _keep_bytes)
        return value

    def _canonical(self, customer: bytes) -> CanonicalCustomer:
        row: CanonicalCustomer = self.rows.get(former_customers_key(customer), _read_canonical)
        return row

    def _new_customer_id(self) -> bytes:
        first = self.fields["identifiers"][0]
        return new_customer_id(first["kind"], first["value"])

    def _add_edge(self, key: bytes, customer: bytes) -> Output:
        kind, value = (self.identifiers[key][name] for name in ("kind", "value"))
        edge = {"kind": kind, "value": value, "customer_id": customer, "rule": RULE, **self._evidence()}
        self.rows.put(key, customer, bytes)
        return Output(IDENTITY, 0, key, encode("edge", edge))

    def _merge(self, loser: bytes, survivor: bytes) -> list[Output]:
        """Point the loser and all its former customers directly at the survivor.

        The survivor's own row comes first. If the changelog ends right after it, the replay merges again and loses no customer.
        """
        lost, kept = self._canonical(loser), self._canonical(survivor)
        former = dict.fromkeys([*kept.former, loser, *lost.former])
        self.rows.put(former_customers_key(survivor), CanonicalCustomer(list(former)), _encode_canonical)
        outputs = []
        for customer in (loser, *lost.former):
            merge = {"from_customer": customer, "to_customer": survivor, "rule": RULE, **self._evidence()}
            self.rows.put(merge_key(customer), survivor, bytes)
            outputs.append(Output(IDENTITY, 0, merge_key(customer), encode("merge", merge)))
        outputs.append(Output(RESOLVED, customer_partition(loser), loser, outputs[0].value))
        return outputs

    def _evidence(self) -> Fields:
        return {"event_id": self.fields["event_id"], "at": self.fields["occurred_at"]}
