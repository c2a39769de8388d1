"""Customers of a rebuild, and the ranges of ids in which they are read. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

MAX_RANGE_TOUCHPOINTS = 1_000_000


class Kind(StrEnum):
    """Kind of a scope."""

    CUSTOMER = "customer"
    DEFINITION = "definition"
    INCOMPLETE = "incomplete"
    ALL = "all"


class Scope(BaseModel):
    """Customers to rebuild: `value` is a customer id or the name of a definition.

    `since` keeps those with newer touchpoints, `is_incomplete` those whose last revision is incomplete.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    value: str = ""
    since: datetime | None = None
    is_incomplete: bool = False

    @property
    def text(self) -> str:
        """Return the options that name this scope."""
        value = f" {self.value}" if self.value else ""
        since = f" --since {self.since:%Y-%m-%dT%H:%M:%S}" if self.since else ""
        return f"--{self.kind}{value}{since}"


class Bucket(NamedTuple):
    """Customers whose ids begin with the same two bytes, and their touchpoints."""

    number: int
    customers: int
    touchpoints: int


class Large(NamedTuple):
    """One customer with many touchpoints."""

    customer_id: bytes
    touchpoints: int


class Work(NamedTuple):
    """Customers to read: large ones one by one, all others by buckets."""

    large: list[Large]
    buckets: list[Bucket]


class Range(NamedTuple):
    """Buckets from `first` to `last`, both included."""

    first: int
    last: int


class Counts(NamedTuple):
    """Number of customers and of touchpoints."""

    customers: int
    touchpoints: int


def count_all(work: Work) -> Counts:
    """Return the number of customers and touchpoints."""
    customers = len(work.large) + sum(bucket.customers for bucket in work.buckets)
    touchpoints = sum(each.touchpoints for each in work.large) + sum(bucket.touchpoints for bucket in work.buckets)
    return Counts(customers, touchpoints)


def cut_ranges(buckets: Sequence[Bucket]) -> list[Range]:
    """Return ranges in ascending order, each with at most a million touchpoints. A larger bucket is a range of its own."""
    ranges: list[Range] = []
    size = 0
    for bucket in sorted(buckets):
        if ranges and size + bucket.touchpoints <= MAX_RANGE_TOUCHPOINTS:
            ranges[-1] = Range(ranges[-1].first, bucket.number)
            size += bucket.touchpoints
        else:
            ranges.append(Range(bucket.number, bucket.number))
            size = bucket.touchpoints
    return ranges
