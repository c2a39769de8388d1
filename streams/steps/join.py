"""join: fold each customer's touchpoints into journeys and signals, and say what changed.

Whatever the order of arrival, the rows that remain (highest version of each id) are the same: signals always fold in
event-time order, ids come from event ids, and a journey that a late touchpoint makes void is taken back.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid5

import msgspec

from schemas import telemetry
from schemas.codec import Fields, encode
from schemas.topics import CUSTOMER_STATE, JOURNEYS, RESOLVED, TICKS, customer_partition
from streams.contract import Output, Record, Refuse, Rows, unexpected
from streams.journeys import journey
from streams.signals.contract import Signal, Value
from streams.steps.customer import (
    KEPT,
    SLACK,
    Customer,
    Touchpoint,
    decode_customer,
    decode_touchpoints,
    encode_customer,
    encode_touchpoints,
    to_raw,
    touchpoint,
)

JOURNEY = "journey"
MOVED_AT_ONCE = 200
LATE = telemetry.LATE.labels("join")


class Join:
    """`touchline.resolved` and `touchline.ticks` in; journeys and readings out."""

    name = "join"
    topics = (RESOLVED, TICKS)
    table = "customers"
    changelog = CUSTOMER_STATE

    def __init__(self, signals: Sequence[Signal]) -> None:
        self.signals = signals

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        arrived: defaultdict[bytes, list[Touchpoint]] = defaultdict(list)
        outputs: list[Output] = []
        for record in records:
            if record.name == "resolved":
                arrived[record.fields["customer_id"]].append(touchpoint(record.fields))
            elif record.name == "moved":
                arrived[record.fields["customer_id"]].extend(decode_touchpoints(record.fields["touchpoints"]))
            elif record.name == "merge":
                outputs += self._settle(arrived, rows)
                outputs += self._move(rows, record.fields["from_customer"], record.fields["to_customer"])
            elif record.name == "tick":
                outputs += self._settle(arrived, rows)
                outputs += self._tick(rows, record.fields)
            else:
                refuse(record, unexpected(record, self.name))
        return outputs + self._settle(arrived, rows)

    def _settle(self, arrived: defaultdict[bytes, list[Touchpoint]], rows: Rows) -> list[Output]:
        outputs: list[Output] = []
        for customer_id, touchpoints in arrived.items():
            customer: Customer = rows.get(customer_id, decode_customer)
            if customer.moved_to is not None:
                outputs += moved(customer_id, customer.moved_to, touchpoints)
                continue
            changed = Fold(self.signals, customer_id, customer).add(touchpoints)
            if changed is not None:
                rows.put(customer_id, customer, encode_customer)
                outputs += changed
        arrived.clear()
        return outputs

    def _move(self, rows: Rows, customer_id: bytes, to: bytes) -> list[Output]:
        """Hand everything to the customer this one is now part of; whatever comes later follows."""
        customer: Customer = rows.get(customer_id, decode_customer)
        rows.put(customer_id, Customer(moved_to=to), encode_customer)
        return moved(customer_id, to, customer.touchpoints)

    def _tick(self, rows: Rows, tick: Fields) -> Iterator[Output]:
        for customer_id, value in rows.scan():
            customer = decode_customer(value)
            for signal in self.signals:
                raw = customer.states.get(signal.name)
                if raw is None:
                    continue
                state = msgspec.msgpack.decode(raw, type=signal.state)
                found = signal.read(state, tick["at"], None, tick["since"])
                if found is not None:
                    yield reading(signal, customer_id, f"at/{tick['at']}", tick["at"], None, customer.folded, found)


class Fold:
    """One customer's row and the touchpoints that arrived for it in a chunk."""

    def __init__(self, signals: Sequence[Signal], customer_id: bytes, customer: Customer) -> None:
        self.signals = signals
        self.customer_id = customer_id
        self.customer = customer

    def add(self, arrived: Sequence[Touchpoint]) -> list[Output] | None:
        """Fold what is new; outputs, or None where nothing was new. Changes the row in place."""
        customer = self.customer
        known = {each.id for each in customer.touchpoints}
        fresh = {each.id: each for each in arrived if each.id not in known and self._in_time(each)}
        if not fresh:
            return None
        new = sorted(fresh.values(), key=Touchpoint.place)
        last = customer.touchpoints[-1].place() if customer.touchpoints else None
        in_order = last is None or new[0].place() > last
        before, kept = self._states(customer.states), customer.touchpoints
        touchpoints = [*customer.touchpoints, *new]
        if not in_order:
            touchpoints.sort(key=Touchpoint.place)
        start = len(customer.touchpoints) if in_order else touchpoints.index(new[0])
        customer.folded += len(new)
        states = self._states(customer.states if in_order else customer.base)
        outputs = self._fold(states, touchpoints[start:] if in_order else touchpoints, 0 if in_order else start)
        customer.touchpoints = touchpoints
        customer.states = {name: to_raw(state) for name, state in states.items()}
        ghosts = [] if in_order and new == list(fresh.values()) else self._ghosts(kept, list(fresh.values()))
        changes = journey.changes(self.customer_id, customer.folded, before[JOURNEY], states[JOURNEY], ghosts)
        outputs += [self._output(JOURNEYS, encode("journey", change)) for change in changes]
        self._forget()
        return outputs

    def _ghosts(self, kept: Sequence[Touchpoint], arrived: Sequence[Touchpoint]) -> list[journey.Journey]:
        """Journeys after any first part of what arrived: an attempt with a smaller chunk may have published them and crashed."""
        ghosts: dict[bytes, journey.Journey] = {}
        so_far = list(kept)
        for each in arrived[:-1]:
            insort(so_far, each, key=Touchpoint.place)
            state = self._states(self.customer.base)[JOURNEY]
            for touched in so_far:
                state = journey.fold(state, touched)
            ghosts.update((found.id, found) for found in state.journeys)
        return list(ghosts.values())

    def _in_time(self, each: Touchpoint) -> bool:
        base = self.customer.base_place
        if base is None or each.place() > base:
            return True
        LATE.inc()
        return False

    def _states(self, raw: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Fresh states, decoded from the row's bytes."""
        types: dict[str, type[Any]] = {JOURNEY: journey.State, **{each.name: each.state for each in self.signals}}
        return {name: msgspec.msgpack.decode(raw[name], type=kind) if name in raw else kind() for name, kind in types.items()}

    def _fold(self, states: dict[str, Any], touchpoints: Sequence[Touchpoint], speak_from: int) -> list[Output]:
        outputs = []
        for index, each in enumerate(touchpoints):
            states[JOURNEY] = journey.fold(states[JOURNEY], each)
            for signal in self.signals:
                states[signal.name] = signal.fold(states[signal.name], each)
                if index >= speak_from:
                    found = signal.read(states[signal.name], each.at, each, None)
                    if found is not None:
                        key = f"event/{each.id.hex()}"
                        version = self.customer.folded
                        outputs.append(reading(signal, self.customer_id, key, each.at, each.id, version, found))
        return outputs

    def _forget(self) -> None:
        """Keep the newest touchpoints; what is older goes into the base for good."""
        customer = self.customer
        if len(customer.touchpoints) <= KEPT + SLACK:
            return
        old, customer.touchpoints = customer.touchpoints[:-KEPT], customer.touchpoints[-KEPT:]
        base = self._states(customer.base)
        self._fold(base, old, len(old))
        customer.base = {name: to_raw(state) for name, state in base.items()}
        customer.base_place = old[-1].place()

    def _output(self, topic: str, value: bytes) -> Output:
        return Output(topic, customer_partition(self.customer_id), self.customer_id, value)


def moved(from_customer: bytes, to: bytes, touchpoints: Sequence[Touchpoint]) -> list[Output]:
    """Touchpoints on their way to the customer that `from_customer` is now part of."""
    outputs = []
    for start in range(0, len(touchpoints), MOVED_AT_ONCE):
        packed = encode_touchpoints(list(touchpoints[start : start + MOVED_AT_ONCE]))
        fields = {"customer_id": to, "from_customer": from_customer, "touchpoints": packed}
        outputs.append(Output(RESOLVED, customer_partition(to), to, encode("moved", fields)))
    return outputs


def reading(signal: Signal, customer_id: bytes, key: str, at: int, event_id: bytes | None, version: int, found: Value) -> Output:
    """The `reading` record; its id follows from signal, customer and what brought it."""
    fields = {
        "reading_id": uuid5(UUID(bytes=customer_id), f"{signal.name}/{key}").bytes,
        "customer_id": customer_id,
        "signal": signal.name,
        "event_id": event_id,
        "at": at,
        "version": version,
        "deleted": False,
        "definition": signal.definition,
        **found._asdict(),
        "drivers": [driver._asdict() for driver in found.drivers],
    }
    return Output(signal.topic, customer_partition(customer_id), customer_id, encode("reading", fields))
