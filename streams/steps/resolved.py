"""The `resolved` record of a touchpoint whose customer is known."""

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import RESOLVED, customer_partition
from streams.contract import Output
from streams.journeys.definition import stage_of
from streams.touchpoint import encode_touchpoint


def forward_to_customer(fields: Fields, value: bytes, customer_id: bytes) -> Output:
    """Return the output for the customer's partition. `value` is the source's record and `fields` are its fields."""
    stage = stage_of(fields["type"], fields["attributes"])
    seen = encode_touchpoint(fields, stage)
    resolved = {"customer_id": customer_id, "stage": stage, "seen": seen, "touchpoint": value}
    return Output(RESOLVED, customer_partition(customer_id), customer_id, encode("resolved", resolved))
