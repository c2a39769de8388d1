"""A batch of records as what goes out for it: touchpoints and dead letters, encoded and counted. Pure but for the ids seen."""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from connectors.contract import Batch, Connector, Record, RejectedRecord
from connectors.errors import CursorExpiredError
from connectors.runtime.deduplication import Projections
from schemas.errors import RecordError
from schemas.records.connector_state import ConnectorState
from schemas.records.dead_letter import DeadLetter, make_dead_letter
from schemas.records.touchpoint import Touchpoint
from schemas.wire.codec import encode_model
from schemas.wire.topics import TOPICS, source_topic

STAGE = "connect"
ENVELOPE = 16_384
LIMITS = {topic.name: topic.max_message_bytes - ENVELOPE for topic in TOPICS}


class Outgoing(NamedTuple):
    """What one batch publishes, and what it adds to the totals: read = touchpoints + dead letters + repeated.

    A touchpoint is its Kafka key (`kind:value` of its first identifier) and its encoded value. `timed` holds the ids of
    touchpoints and dead letters whose stream is read by time, with the source's time; `known` those seen before.
    """

    touchpoints: list[tuple[bytes, bytes]]
    dead_letters: list[DeadLetter]
    repeated: int
    newest: datetime | None
    timed: list[tuple[UUID, datetime]]
    known: list[tuple[UUID, datetime]]


def outgoing(connector: Connector, stream: str, batch: Batch, seen: set[UUID], said: Projections | None = None) -> Outgoing:
    """Map a batch. `seen` holds the ids of the stream's events and dead letters so far and gains those of this batch.

    `said` holds what a snapshot's touchpoints said last; one that says the same again counts as repeated.
    """
    source = connector.describe_stream(stream).source
    limit = LIMITS[source_topic(source)]
    touchpoints, letters, repeated, newest = [], [], 0, None
    timed: list[tuple[UUID, datetime]] = []
    known: list[tuple[UUID, datetime]] = []
    at = next((record.time for record in batch.records if isinstance(record, Record)), None)
    for record in batch.records:
        at = record.time if isinstance(record, Record) else at
        try:
            if isinstance(record, RejectedRecord):
                raise record.error
            touchpoint = connector.map_record(record)
            encoded = _encoded(source, touchpoint, limit)
            if touchpoint.event_id in seen or (said and not said.news(record.key, touchpoint)):
                repeated += 1
                known += [(touchpoint.event_id, at)] if at and touchpoint.event_id in seen else []
                continue
            seen.add(touchpoint.event_id)
            touchpoints.append(encoded)
            newest = max(newest or touchpoint.occurred_at, touchpoint.occurred_at)
            name = touchpoint.event_id
        except RecordError as error:
            letter = _dead_letter(error, record, f"{stream}:{record.position}", source, connector.name)
            if letter.letter_id in seen:
                repeated += 1
                continue
            name = letter.letter_id
            seen.add(name)
            letters.append(letter)
        if at:
            timed.append((name, at))
    return Outgoing(touchpoints, letters, repeated, newest, timed, known)


def gap(
    error: CursorExpiredError, state: ConnectorState | None, since: datetime, *, origin: str, source: str, connector: str
) -> DeadLetter:
    """What is kept of a cursor that the source no longer knows, `state`'s, where reading goes on by time at `since`."""
    told = {"cursor": state and json.loads(state.cursor), "position": state and str(state.position_at), "since": str(since)}
    detail = f"the source no longer knows the cursor ({error}); read again from {since:%Y-%m-%d %H:%M:%S} UTC"
    payload = json.dumps(told).encode()
    return make_dead_letter(RecordError("gap", detail), payload, stage=STAGE, origin=origin, source=source, connector=connector)


def _encoded(source: str, touchpoint: Touchpoint, limit: int) -> tuple[bytes, bytes]:
    try:
        value = encode_model(source, touchpoint)
    except (ValueError, OverflowError):
        raise RecordError("out_of_range", "a number is too large for its Avro type") from None
    if len(value) > limit:
        raise RecordError("too_long", f"the touchpoint has {len(value)} bytes, more than the {limit} that its topic takes")
    first = touchpoint.identifiers[0]
    return f"{first.kind}:{first.value}".encode(), value


def _dead_letter(error: RecordError, record: Record | RejectedRecord, origin: str, source: str, connector: str) -> DeadLetter:
    letter = make_dead_letter(error, record.raw, stage=STAGE, origin=origin, source=source, connector=connector)
    if isinstance(record, RejectedRecord) and record.size > len(record.raw):
        return letter.model_copy(update={"size": record.size, "truncated": True})
    return letter
