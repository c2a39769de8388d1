"""Dead letters: records that could not be processed, kept whole with the reason. Topic `touchline.dead-letters`."""

import importlib.metadata
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid5

from pydantic import BaseModel, ConfigDict

from schemas.errors import RecordError
from schemas.fields import Id, Instant
from schemas.touchpoint import NAMESPACE

MAX_PAYLOAD = 6 * 1024 * 1024
SOFTWARE = importlib.metadata.version("touchline")


class DeadLetter(BaseModel):
    """One refused record. The same record refused again by the same stage has the same `letter_id`.

    `origin` says where the record stood (a file and line, or topic/partition/offset); `payload` holds the original bytes,
    cut to 6 MiB when `truncated`; `size` is the full length in bytes. `topic`, `partition`, `offset` and `schema_id` are
    set where the record came from Kafka.
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


def refused(
    error: RecordError,
    payload: bytes,
    *,
    stage: str,
    origin: str,
    source: str = "",
    connector: str = "",
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
) -> DeadLetter:
    """The dead letter for `payload`, refused at `stage` for `error`; deterministic but for `at`."""
    key = "\x1f".join((stage, connector, origin, sha256(payload).hexdigest()))
    wire = topic is not None and len(payload) >= 5 and payload[0] == 0
    return DeadLetter(
        letter_id=uuid5(NAMESPACE, key),
        at=datetime.now(UTC),
        stage=stage,
        source=source,
        connector=connector,
        reason=error.reason,
        detail=error.detail,
        origin=origin,
        topic=topic,
        partition=partition,
        offset=offset,
        schema_id=int.from_bytes(payload[1:5], "big") if wire else None,
        payload=payload[:MAX_PAYLOAD],
        size=len(payload),
        truncated=len(payload) > MAX_PAYLOAD,
    )
