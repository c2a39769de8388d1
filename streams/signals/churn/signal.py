"""Churn risk: the probability of no purchase within 90 days.

The setting is non-contractual until a cancellation arrives, which is observed churn (risk 1). A purchase is a day with an
order or a payment. Each reading also holds a baseline: idle days as a share of the horizon, at most 1.
A tick brings a reading when the risk has reached another hundredth since the tick before, so that growing silence shows. The
first tick after 365 idle days is the last one that can.
"""

from typing import Any

import msgspec

from schemas.wire.topics import CHURN
from streams.signals.churn.model import CDNOW, probability_no_purchase
from streams.signals.contract import Driver, Reading
from streams.touchpoint import Touchpoint

DAY_MS = 86_400_000
WEEK_DAYS = 7.0
HORIZON_DAYS = 90.0
MAX_IDLE_DAYS = 365.0
PURCHASE_TYPES = frozenset({"order.placed", "payment.received"})
CANCELLATION_TYPE = "contract.cancelled"


class State(msgspec.Struct, array_like=True):
    """Number of purchase days after the first one, first and last purchase (ms, event ids), and the cancellation, if any."""

    repeats: int = 0
    first_at: int = 0
    first: bytes = b""
    last_at: int = 0
    last: bytes = b""
    cancelled: bytes = b""


class Churn:
    """Signal with a reading at each purchase, at a cancellation, and at ticks until the customer was idle for 365 days."""

    name = "churn"
    topic = CHURN
    definition = "churn-bgnbd-cdnow-1"
    state = State

    def fold(self, state: State, touchpoint: Touchpoint) -> State:
        if touchpoint.type == CANCELLATION_TYPE:
            state.cancelled = touchpoint.id
        elif touchpoint.type in PURCHASE_TYPES:
            if not state.first:
                state.first, state.first_at = touchpoint.id, touchpoint.at
            elif touchpoint.at // DAY_MS > state.last_at // DAY_MS:
                state.repeats += 1
            state.last, state.last_at = touchpoint.id, touchpoint.at
            if touchpoint.type == "order.placed":
                state.cancelled = b""
        return state

    def read(self, state: State, at: int, touchpoint: Touchpoint | None, since: int | None) -> Reading | None:
        if touchpoint is not None:
            return self._reading(state, at) if touchpoint.id in (state.last, state.cancelled) else None
        if not state.first or state.cancelled or at < state.last_at:
            return None
        if since is not None and since >= state.last_at:
            ended = (since - state.last_at) / DAY_MS > MAX_IDLE_DAYS
            if ended or _count_hundredths(state, since) == _count_hundredths(state, at):
                return None
        return self._reading(state, at)

    def _reading(self, state: State, at: int) -> Reading:
        idle = (at - state.last_at) / DAY_MS if state.first else 0.0
        numbers = {
            "horizon_days": HORIZON_DAYS,
            "idle_days": idle,
            "baseline": min(1.0, idle / HORIZON_DAYS),
        }
        if state.cancelled:
            return Reading(1.0, None, None, state.repeats + 1, numbers, (Driver(state.cancelled, 1.0, "cancelled"),))
        now = churn_risk(state, at)
        return Reading(now, None, None, state.repeats + 1, numbers, find_drivers(state, at, now))


def churn_risk(state: State, at: int) -> float:
    """Return the probability of no purchase within the horizon, as of `at` (ms)."""
    return _risk(state, state.last_at, at)


def _risk(state: State, last_at: int, at: int) -> float:
    week = DAY_MS * WEEK_DAYS
    age, t_x = (at - state.first_at) / week, (last_at - state.first_at) / week
    return probability_no_purchase(CDNOW, state.repeats, t_x if state.repeats else 0.0, age, HORIZON_DAYS / WEEK_DAYS)


def _count_hundredths(state: State, at: int) -> int:
    return int(churn_risk(state, at) * 100)


def find_drivers(state: State, at: int, now: float) -> tuple[Driver, ...]:
    """Return the two parts of the risk `now`: the risk right after a purchase today (rarity), and the part that silence adds."""
    today = _risk(state, at, at) if state.repeats and at > state.last_at else now
    idle, age = (at - state.last_at) / DAY_MS, (at - state.first_at) / DAY_MS
    usual = f", usually every {age / state.repeats:.0f}" if state.repeats else ""
    bought = f"bought on {state.repeats + 1} days" if state.repeats else "bought once"
    rarity = Driver(state.first, today, f"{bought} in {age:.0f} days")
    silence = Driver(state.last, now - today, f"silent for {idle:.0f} days{usual}")
    parts = [part for part in (rarity, silence) if part.contribution > 0.005]
    return tuple(sorted(parts, key=lambda part: -part.contribution))


SIGNAL: Any = Churn()
