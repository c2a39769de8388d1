"""What a signal is: a fold over touchpoints in event-time order, and a reading of its state at a time. Both pure."""

from typing import Any, NamedTuple, Protocol

from streams.steps.customer import Touchpoint


class Driver(NamedTuple):
    """One touchpoint's signed contribution to a reading, in the reading's unit, with words for it."""

    event_id: bytes
    contribution: float
    text: str


class Value(NamedTuple):
    """What a reading says: `value` with its 95 % interval in the signal's unit, where there is one, and why."""

    value: float | None
    low: float | None
    high: float | None
    evidence: int
    numbers: dict[str, float]
    drivers: tuple[Driver, ...]


class Signal(Protocol):
    """A signal. `state` is a msgspec.Struct type whose default is the state of a customer without touchpoints.

    The engine calls `fold` once per touchpoint in event-time order (late ones make it start again from an earlier state,
    so `fold` never needs to care), then `read` with that touchpoint. A tick calls `read` with `touchpoint` None, `at` its
    time and `since` the time of the tick before it (None for the first): whether to speak is `read`'s decision, and None
    means nothing to say. Whether it speaks with a touchpoint must depend on that touchpoint alone: what was said once is
    replaced when touchpoints arrive late, never taken back. `fold` may change the state it is given; `read` must not.
    """

    name: str
    topic: str
    definition: str
    state: type[Any]

    def fold(self, state: Any, touchpoint: Touchpoint) -> Any: ...

    def read(self, state: Any, at: int, touchpoint: Touchpoint | None, since: int | None) -> Value | None: ...
