"""Contract of a signal: a fold over touchpoints in event-time order, and a reading of the folded state. Both are pure."""

from typing import Any, NamedTuple, Protocol

from streams.touchpoint import Touchpoint


class Driver(NamedTuple):
    """Signed contribution of one touchpoint to a reading, in the reading's unit, with a short text for people."""

    event_id: bytes
    contribution: float
    text: str


class Reading(NamedTuple):
    """Value of a signal in its unit, the 95 % interval if it has one, and the reasons.

    `evidence` counts the touchpoints behind the value; `numbers` are further values by name.
    """

    value: float | None
    low: float | None
    high: float | None
    evidence: int
    numbers: dict[str, float]
    drivers: tuple[Driver, ...]


class Signal(Protocol):
    """One signal.

    - `name` is the name of its folder. `topic` receives its readings.
    - `definition` names the formula and its version. Another definition makes a customer's kept touchpoints fold again.
    - `state` is a msgspec.Struct type. Its default is the state of a customer without touchpoints.
    - `fold` receives each touchpoint once, in event-time order, and may change the state that it is given. For a late
      touchpoint, the engine folds again from an earlier state.
    - `read` follows each fold with that touchpoint, or None for no reading. It must not change the state. At a tick,
      `touchpoint` is None, `at` is the time of the tick and `since` that of the tick before (None for the first one).
    - Whether `read` returns a reading for a touchpoint must depend on that touchpoint alone: a late arrival can replace a
      published reading but not retract it.
    """

    name: str
    topic: str
    definition: str
    state: type[Any]

    def fold(self, state: Any, touchpoint: Touchpoint) -> Any: ...

    def read(self, state: Any, at: int, touchpoint: Touchpoint | None, since: int | None) -> Reading | None: ...
