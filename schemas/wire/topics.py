"""Table of all topics, which `touchline migrate` creates.

A partition count can never change: it decides the partition of each customer.
"""

from typing import NamedTuple

from schemas.records.families import FAMILIES

PARTITIONS = 8
DEAD_LETTERS = "touchline.dead-letters"
CONNECTOR_STATE = "touchline.connector-state"
RESOLVED = "touchline.resolved"
TICKS = "touchline.ticks"
IDENTITY = "touchline.identity"
IDENTITY_REQUESTS = "touchline.identity-requests"
JOURNEYS = "touchline.journeys"
SATISFACTION = "touchline.satisfaction"
CHURN = "touchline.churn"
SIGNALS = "touchline.signals"
IDENTITY_STATE = "touchline.identity-state"
CUSTOMERS = "touchline.customers"
CUSTOMER_STATE = "touchline.customer-state"


class Topic(NamedTuple):
    """One topic, without a retention time. A `compacted` topic keeps the last record of each key, any other keeps all records."""

    name: str
    partitions: int
    compacted: bool = False
    max_message_bytes: int = 1_048_588


def source_topic(source: str) -> str:
    """Return the topic of an event family."""
    return f"touchline.{source}"


def customer_partition(customer_id: bytes) -> int:
    """Return the partition of a customer: the first four bytes of the id, modulo the count. It is the same in all topics."""
    return int.from_bytes(customer_id[:4], "big") % PARTITIONS


TOPICS: tuple[Topic, ...] = (
    *(Topic(source_topic(source), PARTITIONS) for source in FAMILIES),
    Topic(RESOLVED, PARTITIONS, max_message_bytes=8 * 1024 * 1024),
    Topic(TICKS, PARTITIONS),
    Topic(JOURNEYS, PARTITIONS),
    Topic(SATISFACTION, PARTITIONS),
    Topic(CHURN, PARTITIONS),
    Topic(SIGNALS, PARTITIONS),
    Topic(CUSTOMERS, PARTITIONS, compacted=True),
    Topic(IDENTITY_REQUESTS, 1),
    Topic(IDENTITY, 1, compacted=True),
    Topic(IDENTITY_STATE, 1, compacted=True),
    Topic(CUSTOMER_STATE, PARTITIONS, compacted=True, max_message_bytes=8 * 1024 * 1024),
    Topic(CONNECTOR_STATE, 1, compacted=True),
    Topic(DEAD_LETTERS, 1, max_message_bytes=8 * 1024 * 1024),
)
