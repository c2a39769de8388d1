"""From a source's touchpoint to one of a known customer: the record itself, the journey stage, and what signals look at."""

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import RESOLVED, customer_partition
from streams.contract import Output
from streams.journeys.definition import stage_of
from streams.steps.customer import seen


def forward(fields: Fields, value: bytes, customer_id: bytes) -> Output:
    """The touchpoint of `fields`, whose record is `value`, addressed to its customer's partition."""
    stage = stage_of(fields["type"], fields["attributes"])
    resolved = {"customer_id": customer_id, "stage": stage, "seen": seen(fields, stage), "touchpoint": value}
    return Output(RESOLVED, customer_partition(customer_id), customer_id, encode("resolved", resolved))
