"""Cursor and running totals of one stream of a connector. Topic `touchline.connector-state`, compacted."""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Instant


class ConnectorState(BaseModel):
    """Position of a stream in its source, with totals. Key: connector + "/" + stream.

    `cursor` is JSON of the connector's own form. The totals count source records: `read` = `published` + `dead_lettered` +
    `repeated`. A record is repeated if its key and version were read before, in this stream or in one that overlaps with it.
    `position_at` is the newest source time read. `recent` holds the ids that the overlap of the stream may read again.
    `projections` holds the last published content of each snapshot record (`connectors/runtime/deduplication.py`).
    A backfill has its own stream, named `backfill/` + stream. `backfill_difference` is the source's count in the window minus
    `read`; it is None while the backfill runs, and if the source cannot count.
    """

    model_config = ConfigDict(frozen=True)

    connector: str
    stream: str
    cursor: str
    read: int
    published: int
    dead_lettered: int
    repeated: int
    last_event_at: Instant | None
    last_success_at: Instant
    position_at: Instant | None = None
    recent: bytes | None = None
    projections: bytes | None = None
    backfill_difference: int | None = None
