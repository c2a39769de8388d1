"""Touchpoint as signals and journeys receive it, and its packed form on Kafka and in state rows."""

from collections.abc import Iterable

import msgspec

from schemas.errors import RecordError
from schemas.wire.codec import Fields

OrderKey = tuple[int, bytes]
NODE_BYTES = 8
MAX_TOUCHPOINT_BYTES = 4096  # a state row holds dozens of touchpoints, and a late one rewrites a thousand in one batch


class Touchpoint(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The fields of a touchpoint that a signal may read.

    `at` is in milliseconds since 1970, `amount` in ten-thousandths of the currency; ids are UUID bytes. Fields that the
    touchpoint's source does not have are None. `nodes` holds the first 8 bytes of each identifier id, the strongest
    identifier first.
    """

    at: int
    id: bytes
    source: str
    type: str
    channel: str
    stage: str = ""
    metric: str | None = None
    answer: float | None = None
    scale_low: int | None = None
    scale_high: int | None = None
    rating: float | None = None
    amount: int | None = None
    currency: str | None = None
    product: str | None = None
    order_id: str | None = None
    ticket_id: str | None = None
    delay_days: float | None = None
    wait_seconds: float | None = None
    nodes: bytes = b""

    def order_key(self) -> OrderKey:
        """Return the sort key of the event-time order; the id breaks ties within one millisecond."""
        return self.at, self.id


_encode = msgspec.msgpack.Encoder().encode
encode_touchpoints = _encode
decode_touchpoint = msgspec.msgpack.Decoder(Touchpoint).decode
decode_touchpoints = msgspec.msgpack.Decoder(list[Touchpoint]).decode


def encode_touchpoint(fields: Fields, stage: str, identifiers: Iterable[bytes] = ()) -> bytes:
    """Return the packed touchpoint of a source's record, its journey stage and the ids of its identifiers by rank.

    Raises RecordError for a touchpoint that would not fit into state rows.
    """
    get = fields.get
    packed = _encode(
        Touchpoint(
            fields["occurred_at"],
            fields["event_id"],
            fields["source"],
            fields["type"],
            fields["channel"],
            stage,
            get("metric"),
            get("answer"),
            get("scale_low"),
            get("scale_high"),
            get("rating"),
            get("amount"),
            get("currency"),
            get("product"),
            get("order_id"),
            get("ticket_id"),
            get("delay_days"),
            get("wait_seconds"),
            b"".join(each[:NODE_BYTES] for each in identifiers),
        )
    )
    if len(packed) > MAX_TOUCHPOINT_BYTES:
        raise RecordError(
            "too_large", f"the fields that signals read have {len(packed):,} bytes, the limit is {MAX_TOUCHPOINT_BYTES:,}"
        )
    return packed


def pack_touchpoints(touchpoints: Iterable[Touchpoint]) -> bytes:
    """Return packed touchpoints without a list header, so that packed pieces can be joined without decoding."""
    return b"".join(map(_encode, touchpoints))


def unpack_touchpoints(packed: bytes, count: int) -> list[Touchpoint]:
    """Return the `count` touchpoints of `pack_touchpoints`."""
    return decode_touchpoints(b"\xdd" + count.to_bytes(4, "big") + packed)
