"""The `resolved` record of a touchpoint whose customer is known."""

from collections.abc import Sequence

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import RESOLVED, customer_partition
from streams.contract import Output
from streams.journeys.definition import stage_of
from streams.touchpoint import encode_touchpoint


def forward_to_customer(fields: Fields, value: bytes, customer_id: bytes, identifiers: Sequence[bytes] = ()) -> Output:
    """Return the output for the customer's partition.

    `value` is the source's record, `fields` are its fields, and `identifiers` the ids of its identifiers by rank.
    """
    stage = stage_of(fields["type"], fields["attributes"])
    seen = encode_touchpoint(fields, stage, identifiers)
    resolved = {"customer_id": customer_id, "stage": stage, "seen": seen, "touchpoint": value, "identifiers": list(identifiers)}
    return Output(RESOLVED, customer_partition(customer_id), customer_id, encode("resolved", resolved))
