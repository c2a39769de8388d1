"""Metrics of one connector instance. `schemas/service/telemetry.py` defines the metric objects."""

from collections.abc import Iterable
from datetime import datetime

from connectors.runtime.deduplication import NewRecords
from connectors.runtime.encode import STAGE
from connectors.runtime.mode import BACKFILL_PREFIX, is_live
from schemas.records.connector_state import ConnectorState
from schemas.records.fields import EPOCH
from schemas.service.telemetry import (
    CONNECTOR_EVENT,
    CONNECTOR_GAPS,
    CONNECTOR_RECONCILIATION,
    CONNECTOR_SUCCESS,
    DEAD_LETTERS,
    RECORDS,
    REFUSED_IDENTIFIERS,
)


class ConnectorMetrics:
    """Metrics of one connector instance, from its saved states on. Event time and freshness are those of live mode."""

    def __init__(self, connector: str, states: Iterable[ConnectorState], last_success_at: datetime) -> None:
        self._connector = connector
        times = (state.last_event_at for state in states if is_live(state.stream))
        self._last_event_at = max((at for at in times if at), default=EPOCH)
        CONNECTOR_SUCCESS.labels(connector).set(last_success_at.timestamp())
        CONNECTOR_GAPS.labels(connector)

    def count_records(self, new: NewRecords) -> None:
        """Count the records of a published batch by outcome."""
        RECORDS.labels(STAGE, "published").inc(len(new.touchpoints))
        RECORDS.labels(STAGE, "dead_lettered").inc(len(new.dead_letters))
        RECORDS.labels(STAGE, "repeated").inc(new.repeated)
        for dead_letter in new.dead_letters:
            DEAD_LETTERS.labels(STAGE, dead_letter.reason).inc()
        for kind, reason in new.refused:
            REFUSED_IDENTIFIERS.labels(self._connector, kind, reason).inc()

    def set_last_event(self, at: datetime | None) -> None:
        """Raise the time of the newest event."""
        if at:
            self._last_event_at = max(self._last_event_at, at)
            CONNECTOR_EVENT.labels(self._connector).set(self._last_event_at.timestamp())

    def set_success(self) -> None:
        """Set the time of the last complete round to now."""
        CONNECTOR_SUCCESS.labels(self._connector).set_to_current_time()

    def count_gap(self) -> None:
        """Count a cursor that the source no longer accepts."""
        CONNECTOR_GAPS.labels(self._connector).inc()

    def set_differences(self, states: Iterable[ConnectorState]) -> None:
        """Set the difference of each finished backfill; its own process has ended before Prometheus scrapes it."""
        for state in states:
            if not is_live(state.stream) and state.backfill_difference is not None:
                stream = state.stream.removeprefix(BACKFILL_PREFIX)
                CONNECTOR_RECONCILIATION.labels(self._connector, stream).set(state.backfill_difference)
