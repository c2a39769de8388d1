"""Seeded workload: touchpoints of four kinds, spread evenly over customers, in event-time order."""

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from schemas.records.touchpoint import event_id
from schemas.wire.codec import Fields, encode
from schemas.wire.topics import source_topic

SEED = 7
CUSTOMERS = 20_000
SECOND_IDENTIFIER = 0.3
SOURCES = {"order.placed": "erp", "payment.received": "erp", "ticket.opened": "support", "ticket.resolved": "support"}
BEGIN = 1_760_000_000_000
STEP_MS = 10


class Sent(NamedTuple):
    """One record to publish."""

    topic: str
    key: bytes
    value: bytes


def touchpoints(run: str, first: int = 0) -> Iterator[Sent]:
    """Yield touchpoints from number `first` on, without end. `received_at` is the time of the request."""
    chance, number = random.Random(f"{SEED}/{first}"), first
    while True:
        yield record(touchpoint(chance, number, run))
        number += 1


def touchpoint(chance: random.Random, number: int, run: str) -> Fields:
    """Return a touchpoint of a random customer."""
    kind, customer = chance.choice(list(SOURCES)), chance.randrange(CUSTOMERS)
    identifiers = [{"kind": "email", "value": f"c{customer}@example.org"}]
    if chance.random() < SECOND_IDENTIFIER:
        identifiers.append({"kind": "erp_party", "value": f"sap/{customer}"})
    return {
        "event_id": event_id("bench", str(number), run).bytes,
        "source": SOURCES[kind],
        "system": "bench",
        "connector": run,
        "type": kind,
        "channel": "web",
        "occurred_at": BEGIN + number * STEP_MS,
        "received_at": time.time_ns() // 1_000_000,
        "identifiers": identifiers,
        "attributes": {"region": "north"},
    }


def record(fields: Fields) -> Sent:
    """Return the record that a connector publishes for the touchpoint."""
    key = fields["identifiers"][0]["value"].encode()
    return Sent(source_topic(fields["source"]), key, encode(fields["source"], fields))
