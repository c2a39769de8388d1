"""Fold what arrived for one customer into its row: journeys and every signal, in event-time order; say what changed."""

from bisect import insort
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.records.fields import uuid5_bytes
from schemas.wire.codec import encode
from schemas.wire.topics import JOURNEYS, customer_partition
from streams.contract import Output
from streams.journeys import journey
from streams.journeys.definition import DEFINITION
from streams.signals.contract import Signal, Value
from streams.steps.customer import Block, Customer, Place, States, Touchpoint
from streams.steps.history import BLOCK, BLOCKS, History, Stretch, sealed

_encode = msgspec.msgpack.Encoder().encode


class Codec:
    """States of journeys and signals, first that of journeys: packed by definition as a row keeps them, or as objects."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        kinds: list[tuple[str, type[Any]]] = [(DEFINITION, journey.State), *((each.definition, each.state) for each in signals)]
        self._kinds = [(definition, kind, msgspec.msgpack.Decoder(kind).decode) for definition, kind in kinds]
        self._definitions = [definition for definition, _ in kinds]
        self._known = set(self._definitions)

    def unpack(self, packed: States) -> list[Any]:
        """Fresh objects; the default where the row has none."""
        return [kind() if (state := packed.get(name)) is None else decode(state) for name, kind, decode in self._kinds]

    def pack(self, states: Sequence[Any]) -> States:
        return dict(zip(self._definitions, map(msgspec.Raw, map(_encode, states)), strict=True))

    def journeys(self, packed: States) -> journey.State:
        """The journeys alone."""
        name, kind, decode = self._kinds[0]
        state: journey.State = decode(packed[name]) if name in packed else kind()
        return state

    def state(self, packed: States, definition: str) -> Any:
        """One signal's state, or None where the row has none."""
        decode = next(decode for name, _, decode in self._kinds if name == definition)
        return decode(packed[definition]) if definition in packed else None

    def complete(self, packed: States) -> bool:
        """Whether no definition is new or changed since the row was written."""
        return packed.keys() >= self._known


class Folded(NamedTuple):
    """What a fold brought: outputs, and by slot the blocks to be written, None to be dropped. The row was changed in place."""

    outputs: list[Output]
    blocks: dict[int, Block | None]


def fold(
    signals: Sequence[Signal],
    codec: Codec,
    customer_id: bytes,
    customer: Customer,
    arrived: Sequence[Touchpoint],
    load: Callable[[int], Block],
    most_blocks: int = BLOCKS,
) -> Folded | None:
    """Fold what is new among `arrived`; None where nothing is.

    Where a definition is new or changed since the row was written, everything that is kept is folded again under it, and
    read again. `load` brings the block in a slot; `most_blocks` are kept.
    """
    history = History(customer, load)
    new = history.fresh(arrived)
    if not new:
        return None
    ordered = sorted(new, key=Touchpoint.place)
    renewed = customer.folded > 0 and not codec.complete(customer.states)
    stretch = history.reach(ordered[0].place(), len(new), everything=renewed)
    touchpoints = sorted([*stretch.touchpoints, *ordered], key=Touchpoint.place) if stretch.touchpoints else ordered
    in_order = stretch.first == customer.folded and new == ordered
    folding = _Folding(signals, codec, customer_id, customer.folded + len(new))
    fresh = None if renewed else {each.id for each in new}
    customer.states = codec.pack(folding.run(stretch, touchpoints, fresh))
    blocks = history.keep(stretch.first, touchpoints, folding.bases, most_blocks)
    if in_order:
        changes = journey.records(customer_id, customer.folded, folding.journeys[folding.finished :])
    else:
        before, ghosts = _again(codec.journeys(stretch.base), stretch.touchpoints, new)
        since = ordered[0].at if len(new) > 1 else None
        changes = journey.changes(customer_id, customer.folded, before, folding.journeys, ghosts, since)
    for change in changes:
        folding.outputs.append(Output(JOURNEYS, folding.partition, customer_id, encode("journey", change)))
    return Folded(folding.outputs, blocks)


class _Folding:
    """One pass over a stretch: `outputs` are readings, `journeys` all it led to, of which the first `finished` stay as they were,
    `bases` the packed states before each block and the tail. Of the journeys a base keeps the last one: no touchpoint behind it
    can change another."""

    def __init__(self, signals: Sequence[Signal], codec: Codec, customer_id: bytes, version: int) -> None:
        self._signals = signals
        self._codec = codec
        self._customer_id = customer_id
        self._version = version
        self.partition = customer_partition(customer_id)
        self.outputs: list[Output] = []
        self.journeys: list[journey.Journey] = []
        self.finished = 0
        self.bases: dict[int, States] = {}

    def run(self, stretch: Stretch, touchpoints: Sequence[Touchpoint], fresh: set[bytes] | None) -> list[Any]:
        """The states after all; readings of what is `fresh` (None: everything), and of what comes after it where it changes them.

        A signal whose state a fresh touchpoint leaves as it was says the same as before of all that follow.
        """
        first, end = stretch.first, sealed(self._version) * BLOCK
        states = self._codec.unpack(stretch.base)
        self.finished = journey.finished(states[0])
        if first <= end:
            self.bases[first] = stretch.base
        changed = [fresh is None or not stretch.touchpoints] * len(states)
        for index, each in enumerate(touchpoints):
            if index and first + index <= end and (first + index) % BLOCK == 0:
                self.journeys += states[0].journeys[:-1]
                states[0] = journey.State(states[0].journeys[-1:])
                self.bases[first + index] = self._codec.pack(states)
            self._touch(states, changed, each, is_fresh=fresh is None or each.id in fresh)
        self.journeys += states[0].journeys
        return states

    def _touch(self, states: list[Any], changed: list[bool], each: Touchpoint, *, is_fresh: bool) -> None:
        states[0] = journey.fold(states[0], each)
        for number, signal in enumerate(self._signals, 1):
            before = _encode(states[number]) if is_fresh and not changed[number] else None
            states[number] = signal.fold(states[number], each)
            if before is not None:
                changed[number] = before != _encode(states[number])
            if is_fresh or changed[number]:
                self._read(signal, states[number], each)

    def _read(self, signal: Signal, state: Any, each: Touchpoint) -> None:
        found = signal.read(state, each.at, each, None)
        if found is not None:
            key = f"event/{each.id.hex()}"
            value = reading(signal, self._customer_id, key, each.at, each.id, self._version, found)
            self.outputs.append(Output(signal.topic, self.partition, self._customer_id, value))


def _again(
    state: journey.State, kept: Sequence[Touchpoint], arrived: Sequence[Touchpoint]
) -> tuple[list[journey.Journey], list[journey.Journey]]:
    """The journeys of a stretch as they stood, and ghosts: journeys after any first part of what arrived, which an attempt
    with a smaller chunk may have published before it crashed."""
    so_far, ghosts = list(kept), dict[bytes, journey.Journey]()
    for each in arrived[:-1]:
        insort(so_far, each, key=_place)
        ghosts.update((start.id, journey.Journey(start.id, start.at, start.at)) for start in journey.starts(state, so_far))
    for each in kept:
        state = journey.fold(state, each)
    return state.journeys, list(ghosts.values())


def _place(touchpoint: Touchpoint) -> Place:
    return touchpoint.at, touchpoint.id


def reading(signal: Signal, customer_id: bytes, key: str, at: int, event_id: bytes | None, version: int, found: Value) -> bytes:
    """The `reading` record; its id follows from signal, customer and what brought it."""
    return encode(
        "reading",
        {
            "reading_id": uuid5_bytes(customer_id, f"{signal.name}/{key}"),
            "customer_id": customer_id,
            "signal": signal.name,
            "event_id": event_id,
            "at": at,
            "version": version,
            "deleted": False,
            "definition": signal.definition,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "evidence": found.evidence,
            "numbers": found.numbers,
            "drivers": [
                {"event_id": driver.event_id, "contribution": driver.contribution, "text": driver.text}
                for driver in found.drivers
            ],
        },
    )
