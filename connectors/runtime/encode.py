"""Encoding of a batch: each record becomes a touchpoint or a dead letter, ready for Kafka.

Pure, except for the time of a dead dead_letter.
"""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from connectors.contract import Batch, Connector, Record, RejectedRecord, StreamSpec
from connectors.errors import CursorExpiredError, MissingIdentifierError
from connectors.runtime.snapshots import hash_content
from schemas.errors import RecordError
from schemas.records.connector_state import ConnectorState
from schemas.records.dead_letter import DeadLetter, make_dead_letter
from schemas.records.normalisation.refusal import RefusedIdentifier
from schemas.records.touchpoint import Touchpoint
from schemas.wire.codec import encode_model
from schemas.wire.topics import TOPICS, source_topic

STAGE = "connect"
RESERVED_BYTES = 16_384
"""Part of the topic's message limit that is left to Kafka's own framing."""
MAX_VALUE_BYTES = {topic.name: topic.max_message_bytes - RESERVED_BYTES for topic in TOPICS}
Message = tuple[bytes, bytes]
"""Key and value of a Kafka record."""


class EncodedTouchpoint(NamedTuple):
    """A touchpoint as Kafka message; `id` is its event id.

    `source_time` is set in a stream that is read by time, `content` is the hash of a snapshot. `refused` are the values that
    became no identifier. The touchpoint itself is not kept, because thousands of live models slow down the garbage collector.
    """

    id: UUID
    message: Message
    record_key: str
    occurred_at: datetime
    source_time: datetime | None = None
    content: bytes | None = None
    refused: tuple[RefusedIdentifier, ...] = ()


class EncodedDeadLetter(NamedTuple):
    """A dead letter; `id` is its letter id. `source_time` is that of its record, or of the record before if it has none."""

    id: UUID
    dead_letter: DeadLetter
    source_time: datetime | None = None
    refused: tuple[RefusedIdentifier, ...] = ()


Encoded = EncodedTouchpoint | EncodedDeadLetter


def encode_batch(connector: Connector, stream: str, batch: Batch) -> list[Encoded]:
    """Map and encode each record of a batch, in order. A record that cannot be mapped or encoded becomes a dead dead_letter."""
    spec = connector.describe_stream(stream)
    at = next((record.time for record in batch.records if isinstance(record, Record)), None)
    encoded = []
    for record in batch.records:
        at = record.time if isinstance(record, Record) else at
        encoded.append(_encode_record(connector, stream, spec, record, at))
    return encoded


def _encode_record(
    connector: Connector, stream: str, spec: StreamSpec, record: Record | RejectedRecord, source_time: datetime | None
) -> Encoded:
    try:
        if isinstance(record, RejectedRecord):
            raise record.error
        touchpoint = connector.map_record(record)
        message = _encode_touchpoint(spec.source, touchpoint)
        content = hash_content(touchpoint) if spec.is_snapshot else None
        at, refused = touchpoint.occurred_at, touchpoint.refused
        return EncodedTouchpoint(touchpoint.event_id, message, record.key, at, source_time, content, refused)
    except RecordError as error:
        dead_letter = _create_dead_letter(error, record, f"{stream}:{record.position}", spec.source, connector.name)
        refused = error.refused if isinstance(error, MissingIdentifierError) else ()
        return EncodedDeadLetter(dead_letter.letter_id, dead_letter, source_time, refused)


def _encode_touchpoint(source: str, touchpoint: Touchpoint) -> Message:
    try:
        value = encode_model(source, touchpoint)
    except (ValueError, OverflowError):
        raise RecordError("out_of_range", "a number is too large for its Avro type") from None
    limit = MAX_VALUE_BYTES[source_topic(source)]
    if len(value) > limit:
        raise RecordError("too_long", f"the touchpoint has {len(value)} bytes; its topic accepts at most {limit}")
    first = touchpoint.identifiers[0]
    return f"{first.kind}:{first.value}".encode(), value


def _create_dead_letter(
    error: RecordError, record: Record | RejectedRecord, origin: str, source: str, connector: str
) -> DeadLetter:
    dead_letter = make_dead_letter(error, record.raw, stage=STAGE, origin=origin, source=source, connector=connector)
    if isinstance(record, RejectedRecord) and record.size > len(record.raw):
        return dead_letter.model_copy(update={"size": record.size, "truncated": True})
    return dead_letter


def create_gap_dead_letter(
    error: CursorExpiredError, state: ConnectorState | None, since: datetime, *, origin: str, source: str, connector: str
) -> DeadLetter:
    """Return the dead letter of a gap: the cursor that the source no longer accepts, and the time from which reading resumes."""
    gap = {"cursor": state and json.loads(state.cursor), "position": state and str(state.position_at), "since": str(since)}
    detail = f"the source no longer knows the cursor ({error}); read again from {since:%Y-%m-%d %H:%M:%S} UTC"
    payload = json.dumps(gap).encode()
    return make_dead_letter(RecordError("gap", detail), payload, stage=STAGE, origin=origin, source=source, connector=connector)
