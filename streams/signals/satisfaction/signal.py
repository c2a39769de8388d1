"""The satisfaction score: a weighted mean of evidence that halves in weight every 90 days of event time.

With weights w_i, values v_i (0 to 100), ages a_i in half-lives and a prior of value p and weight P:
score = (P p + sum w_i 2^-a_i v_i) / (P + sum w_i 2^-a_i), a shrunken mean with forward decay (Cormode, Shkapenyuk,
Srivastava & Xu 2009, "Forward decay: a practical time decay model for streaming systems", ICDE). The 95 % interval is
score +- 1.96 * 25 / sqrt(P + sum w_i 2^-a_i), cut to 0..100: 25 is the assumed spread of one piece of evidence.
"""

import math
from bisect import insort
from typing import Any

import msgspec

from schemas.wire.topics import SATISFACTION
from streams.signals.contract import Driver, Value
from streams.signals.satisfaction.definition import (
    DEFINITION,
    HALF_LIFE_DAYS,
    PRIOR_VALUE,
    PRIOR_WEIGHT,
    SPREAD,
    evidence,
)
from streams.steps.customer import Touchpoint

HALF_LIFE_MS = HALF_LIFE_DAYS * 86_400_000
KEPT_DRIVERS = 10
SHOWN_DRIVERS = 3


class Kept(msgspec.Struct, array_like=True):
    """A piece of evidence that may be a driver: `pull` is weight times distance from the prior, undecayed."""

    at: int
    id: bytes
    pull: float
    text: str

    def strength(self) -> tuple[float, int, bytes]:
        """Order of importance that time does not change: all decay alike."""
        size = math.log2(abs(self.pull)) if self.pull else -math.inf
        return size + self.at / HALF_LIFE_MS, self.at, self.id


class State(msgspec.Struct, array_like=True):
    """Decayed sums as of `at` (ms): weights, and weight times value; `before` is the score ahead of the last evidence,
    `drivers` the strongest evidence, weakest first."""

    at: int = 0
    weight: float = 0.0
    sum: float = 0.0
    evidence: int = 0
    before: float = PRIOR_VALUE
    last: bytes = b""
    drivers: list[Kept] = []


class Satisfaction:
    """Speaks whenever a touchpoint holds evidence; silence alone says nothing about satisfaction."""

    name = "satisfaction"
    topic = SATISFACTION
    definition = DEFINITION
    state = State

    def fold(self, state: State, touchpoint: Touchpoint) -> State:
        found = evidence(touchpoint)
        if found is None:
            return state
        fade = decay(touchpoint.at - state.at) if state.evidence else 1.0
        state.weight *= fade
        state.sum *= fade
        state.before = score(state.weight, state.sum)
        state.weight += found.weight
        state.sum += found.weight * found.value
        state.at, state.last = touchpoint.at, touchpoint.id
        state.evidence += 1
        pull = found.weight * (found.value - PRIOR_VALUE)
        insort(state.drivers, Kept(touchpoint.at, touchpoint.id, pull, found.text), key=Kept.strength)
        del state.drivers[:-KEPT_DRIVERS]
        return state

    def read(self, state: State, at: int, touchpoint: Touchpoint | None, since: int | None) -> Value | None:
        if touchpoint is None or state.last != touchpoint.id:
            return None
        now = score(state.weight, state.sum)
        half = 1.96 * SPREAD / math.sqrt(PRIOR_WEIGHT + state.weight)
        return Value(
            now,
            max(0.0, now - half),
            min(100.0, now + half),
            state.evidence,
            {"change": now - state.before},
            tuple(self._drivers(state, at)),
        )

    def _drivers(self, state: State, at: int) -> list[Driver]:
        total = PRIOR_WEIGHT + state.weight
        return [
            Driver(kept.id, kept.pull * decay(at - kept.at) / total, kept.text)
            for kept in state.drivers[: -SHOWN_DRIVERS - 1 : -1]
        ]


def decay(age_ms: int) -> float:
    """What is left of a weight after `age_ms`."""
    return float(2.0 ** (-age_ms / HALF_LIFE_MS))


def score(weight: float, weighted: float) -> float:
    """The shrunken mean, 0 to 100."""
    return (PRIOR_WEIGHT * PRIOR_VALUE + weighted) / (PRIOR_WEIGHT + weight)


SIGNAL: Any = Satisfaction()
