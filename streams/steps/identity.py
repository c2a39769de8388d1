"""Records of the identity map on `touchline.identity`, and the copy of it that every worker keeps for `identify`.

| key               | record        | row of the copy                                                         |
|-------------------|---------------|-------------------------------------------------------------------------|
| `n` + node        | `member`      | customer id, a byte of flags, and for anonymous nodes the day (4 bytes) |
| `e` + evidence id | `evidence`    | one byte, and the day if all its nodes are anonymous                    |
| `c` + customer id | `route`       | none                                                                    |
| `x` + conflict id | `conflict`    | none                                                                    |
| `d` + decision id | `decision`    | none                                                                    |
| `f` + fingerprint | `fingerprint` | none                                                                    |
"""

from hashlib import blake2b
from typing import NamedTuple

from schemas.wire.codec import Fields, encode, make_field_decoder
from schemas.wire.topics import IDENTITY, RESOLVED, customer_partition
from streams.contract import Output
from streams.identity.naming import Named
from streams.identity.rows import DECISION, NODE, Node, RouteRow

ROUTE, CONFLICT = b"c", b"x"
SHARED, ERASED = 1, 2
FLAGS_AT = 16
MAX_DAY = 2**32 - 1
DAY_MILLISECONDS = 86_400_000
ANONYMOUS_RULE = "anonymous"


class Cause(NamedTuple):
    """Record that changes the identity map: the rule, and the id and time of the touchpoint or decision."""

    rule: str
    event_id: bytes
    at: int


def member_output(id_: bytes, node: Node, cause: Cause) -> Output:
    """Return the record of an identifier and its customer."""
    fields = {
        "identifier_id": id_,
        "kind": node.kind,
        "value": node.value,
        "customer_id": node.owner,
        "is_shared": node.is_shared,
        "is_erased": node.is_erased,
        "rule": cause.rule,
        "event_id": cause.event_id,
        "at": cause.at,
    }
    return Output(IDENTITY, 0, NODE + id_, encode("member", fields))


def evidence_output(named: Named, cause: Cause, *, verified: bool) -> Output:
    """Return the record of identifiers that one touchpoint named together."""
    fields = {
        "evidence_id": named.evidence_id,
        "identifier_ids": list(named.nodes),
        "kinds": list(named.kinds),
        "rule": cause.rule,
        "confidence": named.confidence,
        "verified": verified,
        "event_id": cause.event_id,
        "at": cause.at,
    }
    return Output(IDENTITY, 0, named.evidence_key, encode("evidence", fields))


def route_outputs(customer_id: bytes, route: RouteRow, cause: Cause) -> tuple[Output, Output]:
    """Return the record of a route for the identity map and for the customer's row."""
    fields = {
        "customer_id": customer_id,
        "current": route.current,
        "shared": route.shared,
        "exceptions": [{"identifier_id": id_, "customer_id": owner} for id_, owner in sorted(route.exceptions.items())],
        "rule": cause.rule,
        "event_id": cause.event_id,
        "at": cause.at,
    }
    value = encode("route", fields)
    return (
        Output(IDENTITY, 0, ROUTE + customer_id, value),
        Output(RESOLVED, customer_partition(customer_id), customer_id, value),
    )


def conflict_output(reason: str, id_: bytes, node: Node, other_id: bytes, other: Node, cause: Cause) -> Output:
    """Return the record of two identifiers that were not linked. Its id derives from the reason and both identifiers."""
    conflict_id = blake2b(reason.encode() + b"".join(sorted((id_, other_id))), digest_size=16).digest()
    fields = {
        "conflict_id": conflict_id,
        "reason": reason,
        "identifier_id": id_,
        "kind": node.kind,
        "value": node.value,
        "other_id": other_id,
        "other_kind": other.kind,
        "other_value": other.value,
        "customer_id": node.owner,
        "other_customer": other.owner,
        "event_id": cause.event_id,
        "at": cause.at,
    }
    return Output(IDENTITY, 0, CONFLICT + conflict_id, encode("conflict", fields))


def decision_output(fields: Fields) -> Output:
    """Return the record of a decision that took effect."""
    return Output(IDENTITY, 0, DECISION + fields["decision_id"], encode("decision", fields))


_decode_for_copy = make_field_decoder(
    {
        "member": ("rule", "at", "customer_id", "is_shared", "is_erased"),
        "evidence": ("rule", "at"),
        **dict.fromkeys(("route", "conflict", "decision", "fingerprint"), ()),
    }
)


def read_copy_row(value: bytes) -> bytes | None:
    """Return the row of the copy from a record of `touchline.identity`, or None for a record that the copy does not keep."""
    name, fields = _decode_for_copy(value)
    if name not in ("member", "evidence"):
        return None
    rule, at, *member = fields
    # sources may send times before 1970 and of any far year
    day = min(max(at // DAY_MILLISECONDS, 0), MAX_DAY).to_bytes(4, "big") if rule == ANONYMOUS_RULE else b""
    if not member:
        return b"1" + day
    customer_id, is_shared, is_erased = member
    row: bytes = customer_id + bytes((SHARED * is_shared | ERASED * is_erased,)) + day
    return row


def is_final(row: bytes) -> bool:
    """Return whether a row of the copy is shared or erased, which never ends.

    A sequencer that begins again after a crash repeats its older records. A copy that went back to an unshared identifier would
    resolve touchpoints to a customer whose route does not know them.
    """
    return len(row) > FLAGS_AT and bool(row[FLAGS_AT] & (SHARED | ERASED))


def is_expired(row: bytes, now: int, days: int) -> bool:
    """Return whether a row of the copy belongs to anonymous identifiers that last changed more than `days` before `now`.

    `now` is in milliseconds since 1970. Such identifiers never met a known one. The sequencer still knows them.
    """
    day = row[FLAGS_AT + 1 :] if len(row) > FLAGS_AT else row[1:]
    return bool(day) and now // DAY_MILLISECONDS - int.from_bytes(day, "big") > days
