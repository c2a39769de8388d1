"""Satisfaction score: a weighted mean of evidence that halves in weight every 90 days of event time.

With weights w_i, values v_i (0 to 100), ages a_i in half-lives and a prior of value p and weight P:
score = (P p + sum w_i 2^-a_i v_i) / (P + sum w_i 2^-a_i), a shrunken mean with forward decay (Cormode, Shkapenyuk,
Srivastava & Xu 2009, "Forward decay: a practical time decay model for streaming systems", ICDE). The 95 % interval is
score +- 1.96 * 25 / sqrt(P + sum w_i 2^-a_i), cut to 0..100. The assumed spread of one piece of evidence is 25.
"""

import math
from bisect import insort
from typing import Any

import msgspec

from schemas.wire.topics import SATISFACTION
from streams.signals.contract import Driver, Reading
from streams.signals.satisfaction.definition import (
    DEFINITION,
    HALF_LIFE_DAYS,
    PRIOR_VALUE,
    PRIOR_WEIGHT,
    SPREAD,
    find_evidence,
)
from streams.touchpoint import Touchpoint

HALF_LIFE_MS = HALF_LIFE_DAYS * 86_400_000
MAX_KEPT_DRIVERS = 10
MAX_SHOWN_DRIVERS = 3


class StrongEvidence(msgspec.Struct, array_like=True):
    """Evidence that may become a driver. `pull` is its weight times its distance from the prior, without decay."""

    at: int
    id: bytes
    pull: float
    text: str

    def strength(self) -> tuple[float, int, bytes]:
        """Return the sort key of importance. Time does not change the order, because all evidence decays alike."""
        size = math.log2(abs(self.pull)) if self.pull else -math.inf
        return size + self.at / HALF_LIFE_MS, self.at, self.id


class State(msgspec.Struct, array_like=True):
    """Decayed sums as of `at` (ms): of weights, and of weight times value.

    `before` is the score before the last evidence; `drivers` is the strongest evidence, weakest first.
    """

    at: int = 0
    weight: float = 0.0
    sum: float = 0.0
    evidence: int = 0
    before: float = PRIOR_VALUE
    last: bytes = b""
    drivers: list[StrongEvidence] = []


class Satisfaction:
    """Signal with a reading at each touchpoint that holds evidence. Silence holds none."""

    name = "satisfaction"
    topic = SATISFACTION
    definition = DEFINITION
    state = State

    def fold(self, state: State, touchpoint: Touchpoint) -> State:
        found = find_evidence(touchpoint)
        if found is None:
            return state
        factor = decay_factor(touchpoint.at - state.at) if state.evidence else 1.0
        state.weight *= factor
        state.sum *= factor
        state.before = shrunken_mean(state.weight, state.sum)
        state.weight += found.weight
        state.sum += found.weight * found.value
        state.at, state.last = touchpoint.at, touchpoint.id
        state.evidence += 1
        pull = found.weight * (found.value - PRIOR_VALUE)
        insort(state.drivers, StrongEvidence(touchpoint.at, touchpoint.id, pull, found.text), key=StrongEvidence.strength)
        del state.drivers[:-MAX_KEPT_DRIVERS]
        return state

    def read(self, state: State, at: int, touchpoint: Touchpoint | None, since: int | None) -> Reading | None:
        if touchpoint is None or state.last != touchpoint.id:
            return None
        now = shrunken_mean(state.weight, state.sum)
        half = 1.96 * SPREAD / math.sqrt(PRIOR_WEIGHT + state.weight)
        return Reading(
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
            Driver(kept.id, kept.pull * decay_factor(at - kept.at) / total, kept.text)
            for kept in state.drivers[: -MAX_SHOWN_DRIVERS - 1 : -1]
        ]


def decay_factor(age_ms: int) -> float:
    """Return the share of a weight that is left after `age_ms`."""
    return float(2.0 ** (-age_ms / HALF_LIFE_MS))


def shrunken_mean(weight: float, weighted: float) -> float:
    """Return the shrunken mean, 0 to 100."""
    return (PRIOR_WEIGHT * PRIOR_VALUE + weighted) / (PRIOR_WEIGHT + weight)


SIGNAL: Any = Satisfaction()
