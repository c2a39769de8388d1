"""Journeys as a fold over a customer's touchpoints in event-time order; each journey's id is that of its first touchpoint."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from schemas.records.fields import uuid5_bytes
from streams.journeys.definition import CLOSING, DEFINITION, FRICTION, MOMENTS_OF_TRUTH, SILENCE_MS, slow
from streams.steps.customer import Touchpoint

MOST_MOMENTS = 100


class Journey(msgspec.Struct, array_like=True):
    """One journey as it stands; times in milliseconds. `moments` keeps the newest 100."""

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
    """Continue the last journey, or begin one."""
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
    if touchpoint.type in FRICTION or slow(touchpoint.channel, touchpoint.wait_seconds):
        journey.friction += 1
    if touchpoint.type in MOMENTS_OF_TRUTH:
        journey.moments = [*journey.moments, touchpoint.id][-MOST_MOMENTS:]
    if touchpoint.type in CLOSING:
        journey.status, journey.outcome = "closed", CLOSING[touchpoint.type]


def starts(before: State, touchpoints: Iterable[Touchpoint]) -> Iterator[Touchpoint]:
    """Those at which `fold` would begin a journey, after `before`."""
    last = before.journeys[-1] if before.journeys else None
    last_at = last.last_at if last is not None and last.status == "open" else None
    for each in touchpoints:
        if last_at is None or each.at - last_at > SILENCE_MS:
            yield each
        last_at = None if each.type in CLOSING else each.at


def finished(state: State) -> int:
    """How many of the journeys, from the first, no later touchpoint changes."""
    return len(state.journeys) - (1 if state.journeys and state.journeys[-1].status == "open" else 0)


def records(customer_id: bytes, version: int, journeys: Iterable[Journey]) -> Iterable[dict[str, Any]]:
    """The `journey` records of journeys as they stand."""
    return (_record(customer_id, version, journey, deleted=False) for journey in journeys)


def changes(
    customer_id: bytes,
    version: int,
    before: Iterable[Journey],
    after: Iterable[Journey],
    ghosts: Iterable[Journey] = (),
    since: int | None = None,
) -> Iterable[dict[str, Any]]:
    """The `journey` records that lead from the ones to the others: changed and new journeys, and those that are no more.

    `ghosts` are journeys that an attempt which crashed may have published. From `since` on (milliseconds) it may have changed
    journeys, or taken them back, that stand as they stood: those are told again.
    """
    known = {journey.id: journey for journey in before}
    gone = {journey.id: journey for journey in ghosts} | known
    for journey in after:
        gone.pop(journey.id, None)
        if known.get(journey.id) != journey or (since is not None and journey.last_at >= since):
            yield _record(customer_id, version, journey, deleted=False)
    for journey in gone.values():
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
