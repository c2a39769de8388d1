"""Dead letters: records that could not be processed, each kept whole with its reason. Topic `touchline.dead-letters`.

A replayed record carries two headers: its first offset, and the number of replays. A stage that rejects it again derives the
same dead letter id from them, so a record never has two dead letters of one stage.
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
MAX_NAME_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 2_000
SOFTWARE = importlib.metadata.version("touchline")
OFFSET_HEADER = "touchline-offset"
REPLAYS_HEADER = "touchline-replays"
Headers = Sequence[tuple[str, bytes]]


class DeadLetter(BaseModel):
    """One rejected record. The same record, rejected again by the same stage, has the same `letter_id`.

    `origin` is the first place of the record: file and line, or topic/partition/offset. `payload` holds the original bytes;
    `truncated` means that they were cut to 6 MiB. `size` is the full length in bytes. For a record from Kafka, `topic`,
    `partition`, `offset`, `schema_id` and `key` are set; a key over 64 KiB is cut and sets `truncated`, too.
    `replays` is the number of replays before this rejection; null in dead letters of older versions.
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
    """Mark that the record of a dead letter was replayed. Topic `touchline.dead-letters`, key: letter id bytes.

    `replays` numbers the replays of one dead letter, from 1. The dead letter is in state replayed until it is rejected again
    with the same number of `replays`. No clock is compared.
    """

    model_config = ConfigDict(frozen=True)

    letter_id: Id
    replays: int
    at: Instant
    software: str = SOFTWARE


class KafkaRecord(Protocol):
    """Kafka record of any client library, as far as a dead letter keeps it."""

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
    """Return the dead letter of a payload that `stage` rejected. All fields but `at` are deterministic.

    Long texts are cut, because they may come from the rejected record, and a dead letter must fit into a batch of Kafka.
    """
    key = "\x1f".join((stage, connector, origin, sha256(payload).hexdigest()))
    return DeadLetter(
        letter_id=uuid5(NAMESPACE, key),
        at=datetime.now(UTC),
        stage=stage,
        source=source[:MAX_NAME_CHARACTERS],
        connector=connector[:MAX_NAME_CHARACTERS],
        reason=error.reason,
        detail=error.detail[:MAX_TEXT_CHARACTERS],
        origin=origin[:MAX_TEXT_CHARACTERS],
        payload=payload[:MAX_PAYLOAD_BYTES],
        size=len(payload),
        truncated=len(payload) > MAX_PAYLOAD_BYTES,
        replays=0,
    )


def make_record_dead_letter(
    error: RecordError, record: KafkaRecord, *, stage: str, source: str = "", connector: str = ""
) -> DeadLetter:
    """Return the dead letter of a Kafka record; its id follows from the first offset of the record."""
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
    """Return the headers of a replayed record: its first offset, and the number of this replay."""
    return [(OFFSET_HEADER, b"%d" % offset), (REPLAYS_HEADER, b"%d" % replays)]


def _first_place(record: KafkaRecord) -> tuple[int, int]:
    """Return first offset and replays. Headers count only if both are there and hold plain numbers."""
    counts = {name: int(value) for name, value in record.headers if _is_count(value)}
    if OFFSET_HEADER in counts and REPLAYS_HEADER in counts:
        return counts[OFFSET_HEADER], counts[REPLAYS_HEADER]
    return record.offset, 0


def _is_count(value: bytes | None) -> bool:
    return value is not None and value.isdigit() and len(value) < 16
