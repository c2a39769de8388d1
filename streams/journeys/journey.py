"""Journeys as a fold over a customer's touchpoints in event-time order. The id of a journey is that of its first touchpoint."""

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.records.fields import uuid5_bytes
from streams.journeys.definition import (
    DEFINITION,
    FRICTION,
    MOMENTS_OF_TRUTH,
    OUTCOME_OF_CLOSING_TYPE,
    SILENCE_MS,
    is_slow,
)
from streams.touchpoint import Touchpoint

MAX_MOMENTS = 100


class Journey(msgspec.Struct, array_like=True):
    """State of one journey. Times are in milliseconds; `moments` keeps the newest 100 moments of truth."""

    id: bytes
    started_at: int
    last_at: int
    status: str = "open"
    outcome: str = ""
    stage: str = ""
    touchpoints: int = 0
    channels: list[str] = []
    stages: list[str] = []
    friction: int = 0
    moments: list[bytes] = []


class State(msgspec.Struct, array_like=True):
    """All journeys of a customer, oldest first."""

    journeys: list[Journey] = []


def fold(state: State, touchpoint: Touchpoint) -> State:
    """Extend the last journey, or begin a new one."""
    last = state.journeys[-1] if state.journeys else None
    if last is not None and last.status == "open" and touchpoint.at - last.last_at > SILENCE_MS:
        last.status, last.outcome = "closed", "lapsed"
    if last is None or last.status == "closed":
        last = Journey(touchpoint.id, touchpoint.at, touchpoint.at)
        state.journeys.append(last)
    _extend(last, touchpoint)
    return state


def _extend(journey: Journey, touchpoint: Touchpoint) -> None:
    journey.last_at = touchpoint.at
    journey.touchpoints += 1
    journey.stage = touchpoint.stage or journey.stage
    if touchpoint.channel not in journey.channels:
        journey.channels.append(touchpoint.channel)
    if touchpoint.stage and touchpoint.stage not in journey.stages:
        journey.stages.append(touchpoint.stage)
    if touchpoint.type in FRICTION or is_slow(touchpoint.channel, touchpoint.wait_seconds):
        journey.friction += 1
    if touchpoint.type in MOMENTS_OF_TRUTH:
        journey.moments = [*journey.moments, touchpoint.id][-MAX_MOMENTS:]
    if touchpoint.type in OUTCOME_OF_CLOSING_TYPE:
        journey.status, journey.outcome = "closed", OUTCOME_OF_CLOSING_TYPE[touchpoint.type]


def find_open_end(state: State) -> int | None:
    """Return the time of the last touchpoint of the open journey, or None without an open journey."""
    last = state.journeys[-1] if state.journeys else None
    return last.last_at if last is not None and last.status == "open" else None


def find_open_end_after(touchpoint: Touchpoint) -> int | None:
    """Return the same for the journey that a touchpoint has just extended."""
    return None if touchpoint.type in OUTCOME_OF_CLOSING_TYPE else touchpoint.at


def begins_journey(touchpoint: Touchpoint, open_end: int | None) -> bool:
    """Return whether `fold` begins a journey at a touchpoint that follows an open journey with this end."""
    return open_end is None or touchpoint.at - open_end > SILENCE_MS


def count_finished(state: State) -> int:
    """Return how many journeys, from the first, can no longer change with a later touchpoint."""
    return len(state.journeys) - (1 if state.journeys and state.journeys[-1].status == "open" else 0)


def journey_records(customer_id: bytes, version: int, journeys: Iterable[Journey]) -> Iterable[dict[str, Any]]:
    """Yield the `journey` records of journeys."""
    return (_record(customer_id, version, journey, deleted=False) for journey in journeys)


def list_changes(
    customer_id: bytes,
    version: int,
    before: Iterable[Journey],
    after: Iterable[Journey],
    possible_retractions: Iterable[Journey] = (),
    since: int | None = None,
) -> Iterable[dict[str, Any]]:
    """Yield the `journey` records that turn `before` into `after`: new and changed journeys, and retractions.

    `possible_retractions` are journeys that a crashed attempt may have published. Journeys that end at `since` (milliseconds) or
    later are published again even if they are unchanged.
    """
    known = {journey.id: journey for journey in before}
    retracted = {journey.id: journey for journey in possible_retractions} | known
    for journey in after:
        retracted.pop(journey.id, None)
        if known.get(journey.id) != journey or (since is not None and journey.last_at >= since):
            yield _record(customer_id, version, journey, deleted=False)
    for journey in retracted.values():
        yield _record(customer_id, version, journey, deleted=True)


def _record(customer_id: bytes, version: int, journey: Journey, *, deleted: bool) -> dict[str, Any]:
    return {
        "journey_id": uuid5_bytes(customer_id, f"{DEFINITION}/{journey.id.hex()}"),
        "customer_id": customer_id,
        "version": version,
        "deleted": deleted,
        "definition": DEFINITION,
        "status": journey.status,
        "outcome": journey.outcome,
        "stage": journey.stage,
        "started_at": journey.started_at,
        "last_at": journey.last_at,
        "touchpoints": journey.touchpoints,
        "channels": journey.channels,
        "stages": journey.stages,
        "friction": journey.friction,
        "moments_of_truth": journey.moments,
    }
