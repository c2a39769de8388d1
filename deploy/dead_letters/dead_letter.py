"""A dead letter as a person handles it, and whether its record may be sent again. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.wire.topics import TOPICS

MAX_REPLAYS = 3
BATCH_LETTERS = 500
BATCH_BYTES = 8 * 1024 * 1024
COMPACTED = frozenset(topic.name for topic in TOPICS if topic.compacted)


class State(StrEnum):
    """What may become of a letter: only a `refused` one is sent again."""

    REFUSED = "refused"
    REPLAYED = "replayed"
    LOOPING = "looping"
    CUT = "cut short"
    SOURCE = "not on Kafka"
    COMPACTED = "compacted"


WHY = {
    State.REPLAYED: "sent again before and not refused since: nothing to do",
    State.LOOPING: f"refused after {MAX_REPLAYS} replays or more: mend the cause, then add --again",
    State.CUT: "too large to be kept whole: have the source read again once the cause is mended",
    State.SOURCE: "refused by a connector before it reached Kafka: mend the connector's settings and have its source read again",
    State.COMPACTED: "the topic keeps the newest record of each key, which an old one must not replace: once the cause is mended,"
    " take the consumer group of the stage back to the record's offset",
}


class Letter(NamedTuple):
    """One row of the view `touchline.dead_letters`, which says what each column is; without key and payload: personal data."""

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
        """The first of these that holds."""
        if self.replayed:
            return State.REPLAYED
        if self.topic is None:
            return State.SOURCE
        if self.truncated:
            return State.CUT
        if self.topic in COMPACTED:
            return State.COMPACTED
        return State.LOOPING if self.replays >= MAX_REPLAYS else State.REFUSED


class Plan(NamedTuple):
    """Letters to send, and how many are left out for which reason."""

    send: list[Letter]
    left: Counter[State]

    @property
    def complete(self) -> bool:
        """Whether nothing is left that should have been sent."""
        return self.left.total() == self.left[State.REPLAYED]


def plan(letters: Iterable[Letter], *, again: bool) -> Plan:
    """What a replay of `letters` sends; `again` lifts the loop guard."""
    sendable = {State.REFUSED, State.LOOPING} if again else {State.REFUSED}
    found = Plan([], Counter())
    for letter in letters:
        if letter.state in sendable:
            found.send.append(letter)
        else:
            found.left[letter.state] += 1
    return found


def batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Letters in order, in lists of at most 500 and, but for one giant, 8 MiB of payload: what is in memory at a time."""
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        if batch and (len(batch) == BATCH_LETTERS or size + letter.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += letter.size
    if batch:
        yield batch
