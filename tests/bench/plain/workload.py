"""Seeded workload: ERP touchpoints of at most 115 bytes in event-time order, published once for all variants."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from schemas.wire.codec import Fields, encode
from schemas.wire.topics import PARTITIONS, source_topic
from streams.contract import Output
from tests.bench.plain.fold import Row, add

SEED = 1
TOPIC = source_topic("erp")
SMALL_TOPIC = "bench-small"
BEGIN = 1_760_000_000_000


class Workload(NamedTuple):
    """`touchpoints` of `customers`, who are equally likely; the first `small` of them once more in a topic of their own."""

    touchpoints: int = 1_000_000
    customers: int = 20_000
    small: int = 100_000


def touchpoints(workload: Workload) -> Iterator[tuple[int, Fields]]:
    """Customer numbers and touchpoints, always the same ones."""
    chance = random.Random(SEED)
    for number in range(workload.touchpoints):
        customer = chance.randrange(workload.customers)
        yield (
            customer,
            {
                "event_id": chance.randbytes(16),
                "source": "erp",
                "system": "tryton",
                "connector": "bench",
                "type": "order.placed",
                "channel": "web",
                "occurred_at": BEGIN + number,
                "received_at": BEGIN + number,
                "identifiers": [{"kind": "erp_party", "value": f"{customer:07d}"}],
                "attributes": {},
                "order_id": f"o{number}",
                "amount": chance.randrange(10_000_000),
                "currency": "EUR",
            },
        )


def records(workload: Workload, topic: str) -> Iterator[Output]:
    """Yield the records for `topic`. The key is the customer's identifier, which also decides the partition."""
    for customer, fields in touchpoints(workload):
        yield Output(topic, customer % PARTITIONS, fields["identifiers"][0]["value"].encode(), encode("erp", fields))


def model(workload: Workload, count: int) -> dict[bytes, Row]:
    """Return the expected rows after the first `count` touchpoints, by customer key."""
    rows: dict[bytes, Row] = {}
    for _, fields in islice(touchpoints(workload), count):
        add(rows.setdefault(fields["identifiers"][0]["value"].encode(), Row()), fields)
    return rows
