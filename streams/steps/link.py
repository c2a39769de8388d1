"""link: the sequencer. One partition, so that every new identifier and every merge is decided once, in one order.

Deciding again gives the same answer, even where a crash kept only part of a decision's rows: of two customers the one with
the greater id survives, whatever else is known, so merges never run in a circle.
"""

from collections.abc import Sequence

import msgspec

from schemas.records.families import FAMILIES
from schemas.wire.codec import Fields, encode
from schemas.wire.topics import IDENTITY, IDENTITY_REQUESTS, IDENTITY_STATE, RESOLVED, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected
from streams.steps.identity import RULE, founded, identifier_key, merge_key, standing
from streams.steps.resolved import forward


class Standing(msgspec.Struct, array_like=True):
    """A customer that was not merged away: which former customers are part of it."""

    former: list[bytes] = []


read_standing = msgspec.msgpack.Decoder(Standing).decode
write_standing = msgspec.msgpack.Encoder().encode


class Link:
    """`touchline.identity-requests` in; the touchpoint, new edges and merges out."""

    name = "link"
    topics = (IDENTITY_REQUESTS,)
    table = "identity"
    changelog = IDENTITY_STATE
    row_group_prefix_bytes = 0

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs: list[Output] = []
        for record in records:
            if record.name in FAMILIES:
                outputs.extend(_Decision(record, rows).outputs())
            else:
                refuse(record, unexpected(record, self.name))
        return outputs


def _same(value: bytes | None) -> bytes | None:
    return value


def _standing(value: bytes | None) -> Standing:
    return Standing() if value is None else read_standing(value)


class _Decision:
    """One touchpoint's identifiers decided against the map as it stands."""

    def __init__(self, record: Record, rows: Rows) -> None:
        self.record = record
        self.fields = fields = record.fields
        self.rows = rows
        self.keys = {identifier_key(each["kind"], each["value"]): each for each in fields["identifiers"]}

    def outputs(self) -> list[Output]:
        edges = {key: self._lookup(key) for key in self.keys}
        known = list(dict.fromkeys(standing(first, self._lookup) for first in edges.values() if first))
        survivor = max(known) if known else self._found()
        changes = [self._edge(key, survivor) for key, edge in edges.items() if edge is None]
        for customer in known:
            if customer != survivor:
                changes.extend(self._merge(customer, survivor))
        return [*changes, forward(self.fields, self.record.value, survivor)]

    def _lookup(self, key: bytes) -> bytes | None:
        found: bytes | None = self.rows.get(key, _same)
        return found

    def _standing(self, customer: bytes) -> Standing:
        found: Standing = self.rows.get(b"s" + customer, _standing)
        return found

    def _found(self) -> bytes:
        first = self.fields["identifiers"][0]
        return founded(first["kind"], first["value"])

    def _edge(self, key: bytes, customer: bytes) -> Output:
        edge = {**self.keys[key], "customer_id": customer, "rule": RULE, **self._evidence()}
        self.rows.put(key, customer, bytes)
        return Output(IDENTITY, 0, key, encode("edge", edge))

    def _merge(self, loser: bytes, survivor: bytes) -> list[Output]:
        """The loser and all that were part of it now point at the survivor, in one hop.

        The survivor's own row comes first: a changelog that ends after it makes the replay merge again, and nobody forget.
        """
        lost, kept = self._standing(loser), self._standing(survivor)
        former = dict.fromkeys([*kept.former, loser, *lost.former])
        self.rows.put(b"s" + survivor, Standing(list(former)), write_standing)
        outputs = []
        for customer in (loser, *lost.former):
            merge = {"from_customer": customer, "to_customer": survivor, "rule": RULE, **self._evidence()}
            self.rows.put(merge_key(customer), survivor, bytes)
            outputs.append(Output(IDENTITY, 0, merge_key(customer), encode("merge", merge)))
        outputs.append(Output(RESOLVED, customer_partition(loser), loser, outputs[0].value))
        return outputs

    def _evidence(self) -> Fields:
        return {"event_id": self.fields["event_id"], "at": self.fields["occurred_at"]}
