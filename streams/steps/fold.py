"""Fold of new touchpoints into a customer's row: journeys and every signal, in event-time order, and the records that change."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.records.fields import uuid5_bytes
from schemas.wire.codec import encode
from schemas.wire.topics import JOURNEYS, customer_partition
from streams.contract import Output
from streams.journeys import journey
from streams.journeys.definition import DEFINITION
from streams.signals.contract import Reading, Signal
from streams.steps.customer import Block, States
from streams.steps.history import BLOCK_SIZE, DEFAULT_MAX_BLOCKS, History, RefoldRange
from streams.steps.route import add_lost
from streams.touchpoint import Touchpoint

_encode = msgspec.msgpack.Encoder().encode


class StateCodec:
    """Codec of the states of journeys (first) and of all signals. A row keeps them packed, by definition."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        kinds: list[tuple[str, type[Any]]] = [(DEFINITION, journey.State), *((each.definition, each.state) for each in signals)]
        self._kinds = [(definition, kind, msgspec.msgpack.Decoder(kind).decode) for definition, kind in kinds]
        self._definitions = [definition for definition, _ in kinds]
        self._known = set(self._definitions)

    def unpack(self, packed: States) -> list[Any]:
        """Return new state objects, with the default for each state that the row does not have."""
        return [kind() if (state := packed.get(name)) is None else decode(state) for name, kind, decode in self._kinds]

    def pack(self, states: Sequence[Any]) -> States:
        return dict(zip(self._definitions, map(msgspec.Raw, map(_encode, states)), strict=True))

    def unpack_journeys(self, packed: States) -> journey.State:
        """Return the journeys alone."""
        name, kind, decode = self._kinds[0]
        state: journey.State = decode(packed[name]) if name in packed else kind()
        return state

    def unpack_state(self, packed: States, definition: str) -> Any:
        """Return the state of one definition, or None when the row does not have it."""
        decode = next(decode for name, _, decode in self._kinds if name == definition)
        return decode(packed[definition]) if definition in packed else None

    def is_complete(self, packed: States) -> bool:
        """Return whether the row has a state for every current definition."""
        return packed.keys() >= self._known


class FoldResult(NamedTuple):
    """Outputs of a fold, and the blocks to write by slot (None: to delete). The customer's row is changed in place."""

    outputs: list[Output]
    blocks: dict[int, Block | None]


def fold(
    signals: Sequence[Signal],
    codec: StateCodec,
    customer_id: bytes,
    history: History,
    new: Sequence[Touchpoint],
    max_blocks: int = DEFAULT_MAX_BLOCKS,
    *,
    is_atomic: bool = False,
) -> FoldResult:
    """Fold the touchpoints `new`, which `history.select_new` returned, into the customer's row; keep at most `max_blocks`.

    If a definition is new or changed since the row was written, all kept touchpoints are folded and read again under it.
    `is_atomic`: no crashed attempt can have folded a part of `new`.
    """
    customer = history.customer
    ordered = sorted(new, key=Touchpoint.order_key) if len(new) > 1 else new
    definitions_changed = customer.folded > 0 and not codec.is_complete(customer.states)
    if definitions_changed:
        customer.lost = add_lost(customer.lost, customer.forgotten_nodes)
    refold = history.find_refold_range(ordered[0].order_key(), len(new), everything=definitions_changed)
    touchpoints = sorted([*refold.touchpoints, *ordered], key=Touchpoint.order_key) if refold.touchpoints else ordered
    in_order = refold.first == customer.folded and (is_atomic or new == ordered)
    folding = _Fold(signals, codec, customer_id, customer.version() + len(new))
    new_ids = None if definitions_changed or not refold.touchpoints else {each.id for each in new}
    customer.states = codec.pack(folding.run(refold, touchpoints, new_ids))
    blocks = history.update_row(refold, touchpoints, folding.bases, max_blocks)
    if in_order:
        changes = journey.journey_records(customer_id, folding.version, folding.journeys[folding.finished :])
    else:
        before, possible_retractions = _journeys_before(
            codec.unpack_journeys(refold.base), refold.touchpoints, [] if is_atomic else new
        )
        since = _republish_since(touchpoints, ordered, definitions_changed=definitions_changed, is_atomic=is_atomic)
        changes = journey.list_changes(customer_id, folding.version, before, folding.journeys, possible_retractions, since)
    for change in changes:
        folding.outputs.append(Output(JOURNEYS, folding.partition, customer_id, encode("journey", change)))
    return FoldResult(folding.outputs, blocks)


class _Fold:
    """One pass over a refold range.

    - `outputs`: the readings.
    - `journeys`: all resulting journeys, of which the first `finished` are unchanged.
    - `bases`: the packed states before each block and before the tail. A base keeps the last journey only, because no later
      touchpoint can change an earlier one.
    """

    def __init__(self, signals: Sequence[Signal], codec: StateCodec, customer_id: bytes, version: int) -> None:
        self._signals = signals
        self._codec = codec
        self._customer_id = customer_id
        self.version = version
        self.partition = customer_partition(customer_id)
        self.outputs: list[Output] = []
        self.journeys: list[journey.Journey] = []
        self.finished = 0
        self.bases: dict[int, States] = {}

    def run(self, refold: RefoldRange, touchpoints: Sequence[Touchpoint], new_ids: set[bytes] | None) -> list[Any]:
        """Return the states after all touchpoints. Read each new touchpoint (None: all), and later ones that it may change.

        If a new touchpoint leaves the state of a signal unchanged, the signal's later readings are unchanged as well.
        """
        first, end = refold.first, refold.full_blocks * BLOCK_SIZE
        states = self._codec.unpack(refold.base)
        self.finished = journey.count_finished(states[0])
        if first <= end:
            self.bases[first] = refold.base
        changed = [new_ids is None] * len(states)
        for index, each in enumerate(touchpoints):
            if index and first + index <= end and (first + index) % BLOCK_SIZE == 0:
                self.journeys += states[0].journeys[:-1]
                states[0] = journey.State(states[0].journeys[-1:])
                self.bases[first + index] = self._codec.pack(states)
            self._apply(states, changed, each, is_new=new_ids is None or each.id in new_ids)
        self.journeys += states[0].journeys
        return states

    def _apply(self, states: list[Any], changed: list[bool], each: Touchpoint, *, is_new: bool) -> None:
        states[0] = journey.fold(states[0], each)
        for number, signal in enumerate(self._signals, 1):
            before = _encode(states[number]) if is_new and not changed[number] else None
            states[number] = signal.fold(states[number], each)
            if before is not None:
                changed[number] = before != _encode(states[number])
            if is_new or changed[number]:
                self._read(signal, states[number], each)

    def _read(self, signal: Signal, state: Any, each: Touchpoint) -> None:
        reading = signal.read(state, each.at, each, None)
        if reading is not None:
            key = f"event/{each.id.hex()}"
            value = encode_reading(signal, self._customer_id, key, each.at, each.id, self.version, reading)
            self.outputs.append(Output(signal.topic, self.partition, self._customer_id, value))


def _republish_since(
    touchpoints: Sequence[Touchpoint], new: Sequence[Touchpoint], *, definitions_changed: bool, is_atomic: bool
) -> int | None:
    """Return the time from which unchanged journeys are published again, or None.

    A changed definition gives all journeys new ids. Otherwise, an attempt with a smaller chunk may have published other states
    of the journeys from the first new touchpoint on.
    """
    if definitions_changed:
        return touchpoints[0].at
    return new[0].at if len(new) > 1 and not is_atomic else None


def _journeys_before(
    state: journey.State, kept: Sequence[Touchpoint], arrived: Sequence[Touchpoint]
) -> tuple[list[journey.Journey], list[journey.Journey]]:
    """Return the journeys of a refold range before the new touchpoints, and the possible retractions.

    A possible retraction is a journey after any first part of the new touchpoints: an attempt with a smaller chunk may have
    published it before it crashed. An inserted touchpoint may begin a journey, and so may the touchpoint after it.
    """
    so_far, begins = list(kept), dict[bytes, Touchpoint]()
    open_end = journey.find_open_end(state)
    for each in arrived[:-1]:
        at = bisect_left(so_far, each.order_key(), key=Touchpoint.order_key)
        if journey.begins_journey(each, journey.find_open_end_after(so_far[at - 1]) if at else open_end):
            begins[each.id] = each
        if at < len(so_far) and journey.begins_journey(so_far[at], journey.find_open_end_after(each)):
            begins[so_far[at].id] = so_far[at]
        so_far.insert(at, each)
    for each in kept:
        state = journey.fold(state, each)
    return state.journeys, [journey.Journey(each.id, each.at, each.at) for each in begins.values()]


def encode_reading(
    signal: Signal, customer_id: bytes, key: str, at: int, event_id: bytes | None, version: int, reading: Reading
) -> bytes:
    """Return the `reading` record. Its id derives from the signal, the customer and `key`, which names the cause."""
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
            "value": reading.value,
            "low": reading.low,
            "high": reading.high,
            "evidence": reading.evidence,
            "numbers": reading.numbers,
            "drivers": [
                {"event_id": driver.event_id, "contribution": driver.contribution, "text": driver.text}
                for driver in reading.drivers
            ],
        },
    )
