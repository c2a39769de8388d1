"""The expected results in plain Python: mapped drops, customers by `identity.py`, signals by one fold.

The model has no chunks, workers or offsets, and no order of arrival. It knows only the decisions that are in force at the end.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from connectors.contract import Batch, Connector, Phase
from connectors.runtime.deduplication import StreamDeduplication
from connectors.runtime.encode import STAGE, encode_batch
from connectors.settings import open_connector
from schemas.wire.codec import Fields, decode
from streams.journeys import journey
from streams.journeys.definition import stage_of
from streams.signals import load_signals
from streams.touchpoint import Touchpoint, decode_touchpoint, encode_touchpoint
from tests.crash.identity import Decision, Identifier, People

Letter = tuple[str, str, bytes]
"""A dead letter: stage, origin, bytes."""
Reading = tuple[str, bytes | None, int, float | None, float | None, float | None, int]
"""A reading: signal, event id (None for a tick), time, value, low, high, evidence."""


@dataclass
class Expected:
    """Everything that follows from the drops and the decisions under the secret of the installation.

    `touchpoints` holds the mapped records by event id, with their stage. `rows` lists for each stream the event id or letter id
    that each row must have on Kafka. `totals` are read, published, dead-lettered, repeated.
    """

    secret: bytes
    decisions: list[Decision] = field(default_factory=list)
    touchpoints: dict[bytes, Fields] = field(default_factory=dict)
    identifiers: dict[bytes, list[Identifier]] = field(default_factory=dict)
    letters: Counter[Letter] = field(default_factory=Counter)
    rows: dict[str, list[bytes]] = field(default_factory=dict)
    totals: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)

    def people(self) -> People:
        """Return the customers."""
        return People(self.identifiers, self.decisions, self.secret)


class Life(NamedTuple):
    """One customer, folded once in the order of event time."""

    ids: list[bytes]
    states: dict[str, Any]
    journeys: list[tuple[Any, ...]]
    readings: list[Reading]


def expect_drops(settings: Path, expected: Expected) -> Expected:
    """Read and map the drops that `expected` does not contain yet."""
    connector = open_connector("files", settings, {})
    for stream in connector.list_streams({}):
        if stream in expected.rows:
            continue
        deduplication = StreamDeduplication(None, connector.describe_stream(stream))
        expected.rows[stream] = []
        for batch in connector.read(stream, None):
            _add(expected, connector, stream, batch, deduplication)
    return expected


def _add(expected: Expected, connector: Connector, stream: str, batch: Batch, deduplication: StreamDeduplication) -> None:
    read, published, refused, repeated = expected.totals.get(stream, (0, 0, 0, 0))
    for record in batch.records:
        found = deduplication.select_new(encode_batch(connector, stream, Batch([record], {})), Phase.NEXT)
        for _, value in found.touchpoints:
            fields = decode(value)[1]
            names = [(each["kind"], each["value"]) for each in fields["identifiers"]]
            fields["stage"] = stage_of(fields["type"], fields["attributes"])
            expected.touchpoints[fields["event_id"]] = fields
            expected.identifiers[fields["event_id"]] = names
            expected.rows[stream].append(fields["event_id"])
        for letter in found.dead_letters:
            expected.letters[STAGE, letter.origin, letter.payload] += 1
            expected.rows[stream].append(letter.letter_id.bytes)
        if found.repeated:
            expected.rows[stream].append(b"")
        read, published = read + 1, published + len(found.touchpoints)
        refused, repeated = refused + len(found.dead_letters), repeated + found.repeated
    expected.totals[stream] = (read, published, refused, repeated)


def fold_life(touchpoints: Iterable[Fields]) -> Life:
    """Fold the touchpoints of one customer."""
    state = journey.State()
    states = {signal.definition: signal.state() for signal in load_signals()}
    readings: list[Reading] = []
    ordered = sorted(
        (decode_touchpoint(encode_touchpoint(each, each["stage"])) for each in touchpoints), key=Touchpoint.order_key
    )
    for each in ordered:
        state = journey.fold(state, each)
        for signal in load_signals():
            states[signal.definition] = signal.fold(states[signal.definition], each)
            found = signal.read(states[signal.definition], each.at, each, None)
            if found is not None:
                readings.append((signal.name, each.id, each.at, found.value, found.low, found.high, found.evidence))
    journeys = [journey_row(each) for each in state.journeys]
    return Life([each.id for each in ordered], states, journeys, readings)


def journey_row(one: journey.Journey) -> tuple[Any, ...]:
    """Return a journey as its view shows it, without its id."""
    lists = (tuple(one.channels), tuple(one.stages), tuple(one.moments))
    return (one.started_at, one.last_at, one.status, one.outcome, one.stage, one.touchpoints, one.friction, *lists)
