"""Runs one connector. The order of these steps is the guarantee that nothing is lost:

1. read the next batch
2. map each of its records; what cannot be mapped becomes a dead letter
3. publish touchpoints and dead letters
4. wait for every acknowledgement
5. save cursor and totals, acknowledged

A crash after any step reads the batch again: its touchpoints and dead letters carry the same ids, and its totals were not
saved without its cursor. What is `repeated` is exact, too: the connector replays what lies before the cursor, and the
runner remembers the event ids of a stream while it reads it (about 130 bytes each).
"""

import json
import logging
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from connectors.contract import Batch, Connector, Phase
from connectors.outgoing import STAGE, Outgoing, outgoing
from connectors.publisher import Publisher, save_state, saved_states
from schemas.codec import encode_model
from schemas.connector_state import ConnectorState
from schemas.errors import RetryableError
from schemas.fields import EPOCH
from schemas.settings import KafkaSettings
from schemas.telemetry import CONNECTOR_EVENT, CONNECTOR_SUCCESS, RECORDS
from schemas.telemetry import DEAD_LETTERS as REFUSED
from schemas.topics import DEAD_LETTERS, source_topic

MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
Watch = Callable[[ConnectorState, float], None]
log = logging.getLogger(__name__)


class Runner:
    """Publishes what a connector reads.

    `watch` is called after each saved batch with the stream's state and the share of the stream read so far; `stop` ends
    the run after the batch at hand. `states` holds the saved state of each stream.
    """

    def __init__(self, connector: Connector, settings: KafkaSettings, stop: threading.Event, watch: Watch) -> None:
        self._connector = connector
        self._stop = stop
        self._watch = watch
        self.states = saved_states(settings, connector.name)
        self._newest = max((state.last_event_at for state in self.states.values() if state.last_event_at), default=EPOCH)
        self._publisher = Publisher(settings, stop)
        last = max((state.last_success_at for state in self.states.values()), default=datetime.now(UTC))
        CONNECTOR_SUCCESS.labels(connector.name).set(last.timestamp())

    def once(self) -> None:
        """Read every stream to its end. Raises RetryableError when that fails six times in a row."""
        for attempt in count(1):
            error = self._round()
            if error is None or self._stop.is_set():
                return
            if attempt == MAX_ATTEMPTS:
                raise error
            self._back_off(attempt, error)

    def forever(self) -> None:
        """Read round after round until `stop`."""
        failed = 0
        while not self._stop.is_set():
            error = self._round()
            failed = failed + 1 if error else 0
            if error:
                self._back_off(failed, error)
            else:
                self._stop.wait(self._connector.poll_seconds)

    def close(self) -> None:
        """Close the connector and the producer."""
        self._connector.close()
        self._publisher.close()

    def _round(self) -> RetryableError | None:
        """One pass over all streams; a stream that cannot be read now does not keep the others from it."""
        failure = None
        cursors = {stream: json.loads(state.cursor) for stream, state in self.states.items()}
        try:
            for stream in self._connector.streams(cursors):
                failure = self._stream(stream) or failure
                if self._stop.is_set():
                    return failure
        except RetryableError as error:
            return error
        if failure is None:
            CONNECTOR_SUCCESS.labels(self._connector.name).set_to_current_time()
        return failure

    def _stream(self, stream: str) -> RetryableError | None:
        """Read one stream to its end. Returns an error of the source; raises one of Kafka, which all streams share."""
        seen: set[UUID] = set()
        batches = self._batches(stream)
        while not self._stop.is_set():
            try:
                batch = next(batches, None)  # step 1
            except RetryableError as error:
                return error
            if batch is None:
                break
            found = outgoing(self._connector, stream, batch, seen)  # step 2
            if batch.phase is not Phase.REPLAY:
                self._deliver(stream, batch, found)
        return None

    def _batches(self, stream: str) -> Iterator[Batch]:
        state = self.states.get(stream)
        return self._connector.read(stream, json.loads(state.cursor) if state else None)

    def _deliver(self, stream: str, batch: Batch, found: Outgoing) -> None:
        topic = source_topic(self._connector.source(stream))
        state = self._state(stream, batch, found)
        try:
            for key, value in found.touchpoints:  # step 3
                self._publisher.send(topic, key, value)
            for letter in found.dead_letters:
                self._publisher.send(DEAD_LETTERS, letter.letter_id.bytes, encode_model("dead_letter", letter))
            self._publisher.acknowledged()  # step 4
            save_state(self._publisher, state)  # step 5
        except RetryableError:
            self._publisher.close()
            raise
        self.states[stream] = state
        self._count(found)
        self._watch(state, batch.share)

    def _state(self, stream: str, batch: Batch, found: Outgoing) -> ConnectorState:
        """The stream's state after the batch; a RESTART counts from zero."""
        old = None if batch.phase is Phase.RESTART else self.states.get(stream)
        times = [at for at in (old and old.last_event_at, found.newest) if at]
        return ConnectorState(
            connector=self._connector.name,
            stream=stream,
            cursor=json.dumps(dict(batch.cursor)),
            read=(old.read if old else 0) + len(batch.records),
            published=(old.published if old else 0) + len(found.touchpoints),
            dead_lettered=(old.dead_lettered if old else 0) + len(found.dead_letters),
            repeated=(old.repeated if old else 0) + found.repeated,
            last_event_at=max(times, default=None),
            last_success_at=datetime.now(UTC),
        )

    def _count(self, found: Outgoing) -> None:
        RECORDS.labels(STAGE, "published").inc(len(found.touchpoints))
        RECORDS.labels(STAGE, "dead_lettered").inc(len(found.dead_letters))
        RECORDS.labels(STAGE, "repeated").inc(found.repeated)
        for letter in found.dead_letters:
            REFUSED.labels(STAGE, letter.reason).inc()
        if found.newest:
            self._newest = max(self._newest, found.newest)
            CONNECTOR_EVENT.labels(self._connector.name).set(self._newest.timestamp())

    def _back_off(self, failed: int, error: RetryableError) -> None:
        """Full jitter: anything between nothing and twice as much as last time, at least what the source asked for."""
        longest = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**failed)
        seconds = max(error.retry_after or 0.0, random.uniform(0, longest))  # noqa: S311 - jitter, no secret
        log.warning("%s: %s; trying again in %.1f s", self._connector.name, error, seconds)
        self._stop.wait(seconds)
