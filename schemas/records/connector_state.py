"""The cursor of a connector's stream, with its running totals. Topic `touchline.connector-state`, compacted."""

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Instant


class ConnectorState(BaseModel):
    """Where a stream was read up to, and what came of it so far. Key: connector + "/" + stream.

    `cursor` is the connector's own JSON. Totals count source records: `read` = `published` + `dead_lettered` +
    `repeated` (same key and version seen before in the same stream, or in one that may bring the same). `position_at` is the
    newest source time read. `recent` holds the ids that the stream's overlap may read again, `projections` the last published
    content of each snapshot record (`connectors/runtime/deduplication.py`). A backfill has its own stream, `backfill/` + stream.
    `backfill_difference` is the source's count in the window minus `read`; None while it runs or if the source cannot count.
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
