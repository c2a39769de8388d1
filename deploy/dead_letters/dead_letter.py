"""A dead letter, its state, and the plan of a replay. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.wire.topics import TOPICS

MAX_REPLAYS = 3
MAX_BATCH = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
COMPACTED = frozenset(topic.name for topic in TOPICS if topic.compacted)


class State(StrEnum):
    """State of a dead letter. A replay sends only those in state `refused`."""

    REFUSED = "refused"
    REPLAYED = "replayed"
    LOOPING = "looping"
    TRUNCATED = "truncated"
    NOT_ON_KAFKA = "not on Kafka"
    COMPACTED = "compacted"


NEXT_STEPS = {
    State.REPLAYED: "replayed, and not refused since: nothing to do",
    State.LOOPING: f"refused after {MAX_REPLAYS} replays or more: fix the cause, then add --again",
    State.TRUNCATED: "too large to be kept whole: fix the cause, then have the connector read the source again",
    State.NOT_ON_KAFKA: "refused by a connector before Kafka: fix the connector's settings, then have it read the source again",
    State.COMPACTED: "an old record must not replace a newer one of its key: fix the cause, then reset the stage's consumer group"
    " to the offset of the record",
}


class DeadLetter(NamedTuple):
    """One row of the view `touchline.dead_letters`, which documents the columns; without key and payload: personal data."""

    letter_id: UUID
    at: datetime
    stage: str
    source: str
    connector: str
    reason: str
    detail: str
    origin: str
    topic: str | None
    partition: int | None
    offset: int | None
    schema_id: int | None
    size: int
    truncated: int
    software: str
    replays: int
    replayed: int
    replayed_at: datetime | None

    @property
    def state(self) -> State:
        """Return the first state that applies."""
        if self.replayed:
            return State.REPLAYED
        if self.topic is None:
            return State.NOT_ON_KAFKA
        if self.truncated:
            return State.TRUNCATED
        if self.topic in COMPACTED:
            return State.COMPACTED
        return State.LOOPING if self.replays >= MAX_REPLAYS else State.REFUSED


class Plan(NamedTuple):
    """Dead letters to send, and the number left out per state."""

    send: list[DeadLetter]
    left_out: Counter[State]

    @property
    def is_complete(self) -> bool:
        """Return whether the plan leaves out only dead letters that were replayed before."""
        return self.left_out.total() == self.left_out[State.REPLAYED]


def plan_replay(dead_letters: Iterable[DeadLetter], *, again: bool) -> Plan:
    """Return the plan of a replay; `again` includes dead letters in state `looping`."""
    sendable = {State.REFUSED, State.LOOPING} if again else {State.REFUSED}
    plan = Plan([], Counter())
    for dead_letter in dead_letters:
        if dead_letter.state in sendable:
            plan.send.append(dead_letter)
        else:
            plan.left_out[dead_letter.state] += 1
    return plan


def split_batches(dead_letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Yield lists of at most 500 dead letters and 8 MiB of payload, in order. A larger payload is a batch of its own."""
    batch: list[DeadLetter] = []
    size = 0
    for dead_letter in dead_letters:
        if batch and (len(batch) == MAX_BATCH or size + dead_letter.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(dead_letter)
        size += dead_letter.size
    if batch:
        yield batch
