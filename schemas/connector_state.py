"""The cursor of a connector's stream, with its running totals. Topic `touchline.connector-state`, compacted."""

from pydantic import BaseModel, ConfigDict

from schemas.fields import Instant


class ConnectorState(BaseModel):
    """Where a stream was read up to, and what came of it so far. Key: connector + "/" + stream.

    `cursor` is the connector's own JSON. Totals count source records: `read` = `published` + `dead_lettered` +
    `repeated` (same key and version seen before in the same stream, or in one that may bring the same). `position_at` is the
    newest source time read, `recent` the ids that the stream's overlap may bring again, `projections` what a snapshot's
    touchpoints said last (`connectors/memory.py`). The state of a backfill is that of a stream of its own, `backfill/` + stream;
    `backfill_difference` is what the source counted in its window minus `read`, None while it goes on or where nobody can count.
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
