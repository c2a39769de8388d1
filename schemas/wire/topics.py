"""The topic table, created by `touchline migrate`: names, retention, and partition counts, which place customers for good."""

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
CUSTOMER_STATE = "touchline.customer-state"


class Topic(NamedTuple):
    """One topic. `compacted` topics keep the last record of each key for ever; the others keep everything until aged out."""

    name: str
    partitions: int
    compacted: bool = False
    max_message_bytes: int = 1_048_588


def source_topic(source: str) -> str:
    """The topic of an event family."""
    return f"touchline.{source}"


def customer_partition(customer_id: bytes) -> int:
    """The partition of a customer in every topic keyed by customer: the first four bytes of the UUID, modulo the count."""
    return int.from_bytes(customer_id[:4], "big") % PARTITIONS


TOPICS: tuple[Topic, ...] = (
    *(Topic(source_topic(source), PARTITIONS) for source in FAMILIES),
    Topic(RESOLVED, PARTITIONS, max_message_bytes=8 * 1024 * 1024),
    Topic(TICKS, PARTITIONS),
    Topic(JOURNEYS, PARTITIONS),
    Topic(SATISFACTION, PARTITIONS),
    Topic(CHURN, PARTITIONS),
    Topic(SIGNALS, PARTITIONS),
    Topic(IDENTITY_REQUESTS, 1),
    Topic(IDENTITY, 1, compacted=True),
    Topic(IDENTITY_STATE, 1, compacted=True),
    Topic(CUSTOMER_STATE, PARTITIONS, compacted=True, max_message_bytes=8 * 1024 * 1024),
    Topic(CONNECTOR_STATE, 1, compacted=True),
    Topic(DEAD_LETTERS, 1, max_message_bytes=8 * 1024 * 1024),
)
