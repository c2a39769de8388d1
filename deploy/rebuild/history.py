"""Touchpoints of a customer as parts of a `history` record. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.wire.codec import decode, encode
from streams.journeys.definition import stage_of
from streams.touchpoint import encode_touchpoint

MAX_PART_BYTES = 500_000
LIST_HEADER = b"\xdd"  # MessagePack: a list whose length follows in four bytes


class Part(NamedTuple):
    """Value of one `history` record, the number of its touchpoints, and whether it is the last one of the customer."""

    value: bytes
    touchpoints: int
    is_last: bool


def pack_touchpoint(record: bytes, identifiers: Sequence[bytes]) -> bytes:
    """Return the packed touchpoint of a source's record and the ids of its identifiers by rank. Raises RecordError."""
    fields = decode(record)[1]
    return encode_touchpoint(fields, stage_of(fields["type"], fields["attributes"]), identifiers)


def cut_parts(customer_id: bytes, touchpoints: Iterable[bytes], *, keep_existing: bool = True) -> Iterator[Part]:
    """Yield the parts of a history in the order of the packed touchpoints, each with at most 500 kB of touchpoints.

    A history without touchpoints has one empty part, which empties the customer.
    """
    batch: list[bytes] = []
    size = 0
    number = 0
    for packed in touchpoints:
        if batch and size + len(packed) > MAX_PART_BYTES:
            yield _make_part(customer_id, batch, number, keep_existing=keep_existing, is_last=False)
            batch, size, number = [], 0, number + 1
        batch.append(packed)
        size += len(packed)
    yield _make_part(customer_id, batch, number, keep_existing=keep_existing, is_last=True)


def _make_part(customer_id: bytes, batch: Sequence[bytes], number: int, *, keep_existing: bool, is_last: bool) -> Part:
    fields = {
        "customer_id": customer_id,
        "is_first": number == 0,
        "is_last": is_last,
        "keep_existing": keep_existing,
        "touchpoints": LIST_HEADER + len(batch).to_bytes(4, "big") + b"".join(batch),
        "part": number,
    }
    return Part(encode("history", fields), len(batch), is_last)
