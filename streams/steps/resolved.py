"""From a source's touchpoint to one of a known customer: the family's fields laid flat, the journey stage named."""

from schemas.codec import Fields, encode
from schemas.resolved import Resolved
from schemas.topics import RESOLVED, customer_partition
from streams.contract import Output
from streams.journeys.definition import stage_of

FLAT = frozenset(Resolved.model_fields)
LEFT_OUT = frozenset({"identifiers", "attributes"})


def resolve(fields: Fields, customer_id: bytes) -> Fields:
    """The `resolved` record of a touchpoint; family fields that have no column of their own become attributes."""
    flat = {name: value for name, value in fields.items() if name in FLAT}
    rest = {name: str(value) for name, value in fields.items() if value is not None and name not in FLAT and name not in LEFT_OUT}
    attributes = {**fields["attributes"], **rest}
    flat.update(customer_id=customer_id, attributes=attributes, stage=stage_of(fields["type"], attributes))
    return flat


def forward(fields: Fields, customer_id: bytes) -> Output:
    """The touchpoint, addressed to its customer's partition."""
    value = encode("resolved", resolve(fields, customer_id))
    return Output(RESOLVED, customer_partition(customer_id), customer_id, value)
