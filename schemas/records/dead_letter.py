"""Dead letters: records that could not be processed, kept whole with the reason. Topic `touchline.dead-letters`.

A record that is sent again after a repair carries two headers: the offset at which it stood first, and how many times it
was sent again. Whoever refuses it finds its own former letter by them, so a record never has two letters of one stage.
"""

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol
from uuid import uuid5

from pydantic import BaseModel, ConfigDict

from schemas.errors import RecordError
from schemas.records.fields import Id, Instant
from schemas.records.touchpoint import NAMESPACE

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_KEY_BYTES = 64 * 1024
SOFTWARE = importlib.metadata.version("touchline")
OFFSET_HEADER = "touchline-offset"
REPLAYS_HEADER = "touchline-replays"
Headers = Sequence[tuple[str, bytes]]


class DeadLetter(BaseModel):
    """One refused record. The same record refused again by the same stage has the same `letter_id`.

    `origin` says where the record stood first (a file and line, or topic/partition/offset); `payload` holds the original
    bytes, cut to 6 MiB when `truncated`; `size` is the full length in bytes. `topic`, `partition`, `offset`, `schema_id`
    and `key` (at most 64 KiB, else `truncated`) are set where the record came from Kafka. `replays` counts how many times
    the record had been sent again when it was refused; null in letters older than the count.
    """

    model_config = ConfigDict(frozen=True)

    letter_id: Id
    at: Instant
    stage: str
    source: str
    connector: str
    reason: str
    detail: str
    origin: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    schema_id: int | None = None
    payload: bytes
    size: int
    truncated: bool
    software: str = SOFTWARE
    key: bytes | None = None
    replays: int | None = None


class Replay(BaseModel):
    """A dead letter's record was sent again, for the `replays`-th time. Topic `touchline.dead-letters`, key: letter id bytes.

    The letter counts as replayed while no refusal has as many `replays`; clocks do not matter.
    """

    model_config = ConfigDict(frozen=True)

    letter_id: Id
    replays: int
    at: Instant
    software: str = SOFTWARE


class KafkaRecord(Protocol):
    """What a dead letter keeps of a Kafka record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


def make_dead_letter(
    error: RecordError, payload: bytes, *, stage: str, origin: str, source: str = "", connector: str = ""
) -> DeadLetter:
    """The dead letter for `payload`, refused at `stage` for `error`; deterministic but for `at`."""
    key = "\x1f".join((stage, connector, origin, sha256(payload).hexdigest()))
    return DeadLetter(
        letter_id=uuid5(NAMESPACE, key),
        at=datetime.now(UTC),
        stage=stage,
        source=source,
        connector=connector,
        reason=error.reason,
        detail=error.detail,
        origin=origin,
        payload=payload[:MAX_PAYLOAD_BYTES],
        size=len(payload),
        truncated=len(payload) > MAX_PAYLOAD_BYTES,
        replays=0,
    )


def make_record_dead_letter(
    error: RecordError, record: KafkaRecord, *, stage: str, source: str = "", connector: str = ""
) -> DeadLetter:
    """The same for a Kafka record, by the place where it stood first."""
    offset, replays = _first_place(record)
    value, key = record.value or b"", record.key
    origin = f"{record.topic}/{record.partition}/{offset}"
    letter = make_dead_letter(error, value, stage=stage, origin=origin, source=source, connector=connector)
    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": offset,
        "schema_id": int.from_bytes(value[1:5], "big") if len(value) >= 5 and value[0] == 0 else None,
        "key": key if key is None else key[:MAX_KEY_BYTES],
        "truncated": letter.truncated or len(key or b"") > MAX_KEY_BYTES,
        "replays": replays,
    }
    return letter.model_copy(update=place)


def replay_headers(offset: int, replays: int) -> list[tuple[str, bytes]]:
    """The headers of a record that stood at `offset` and is sent again for the `replays`-th time."""
    return [(OFFSET_HEADER, b"%d" % offset), (REPLAYS_HEADER, b"%d" % replays)]


def _first_place(record: KafkaRecord) -> tuple[int, int]:
    """Offset and replays that the headers tell; headers that are not ours, or not whole, tell nothing."""
    told = {name: int(value) for name, value in record.headers if _is_count(value)}
    if OFFSET_HEADER in told and REPLAYS_HEADER in told:
        return told[OFFSET_HEADER], told[REPLAYS_HEADER]
    return record.offset, 0


def _is_count(value: bytes | None) -> bool:
    return value is not None and value.isdigit() and len(value) < 16
