"""Runner of one connector. The order of these steps guarantees that no record is lost:

1. read the next batch
2. map and encode each of its records, and drop those published before; a record that cannot be mapped becomes a dead letter
3. publish the touchpoints and dead letters
4. wait until Kafka has acknowledged all of them
5. save the cursor and the totals, acknowledged as well

After a crash the batch is read again. Its touchpoints and dead letters have the same ids as before. Its totals were not saved,
because cursor and totals are one message. `checkpoints.py` describes sources without a cursor, `deduplication.py` how repeated
records are recognised.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from connectors.contract import Batch, Connector, Phase, Window
from connectors.errors import CursorExpiredError, RateLimitedError
from connectors.runtime.backoff import Backoff
from connectors.runtime.checkpoints import Checkpoints
from connectors.runtime.deduplication import Deduplication, NewRecords, StreamDeduplication
from connectors.runtime.encode import create_gap_dead_letter, encode_batch
from connectors.runtime.metrics import ConnectorMetrics
from connectors.runtime.mode import BackfillMode, LiveMode, Mode, is_live
from connectors.runtime.publisher import Publisher, load_states
from schemas.errors import RetryableError
from schemas.records.connector_state import ConnectorState
from schemas.records.dead_letter import DeadLetter
from schemas.records.fields import EPOCH
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode_model
from schemas.wire.topics import DEAD_LETTERS, source_topic

MAX_ATTEMPTS = 6
RECONCILE_SECONDS = 3_600.0
OnSaved = Callable[[ConnectorState, float], None]
log = logging.getLogger(__name__)


class Runner:
    """Publishes the records of a connector: live, or a backfill from `since`.

    `on_saved` receives the state of a stream after each saved batch, and the share of the stream that has been read (0 to 1).
    `stop` ends the run after the current batch.
    """

    def __init__(
        self,
        connector: Connector,
        settings: KafkaSettings,
        stop: threading.Event,
        on_saved: OnSaved,
        since: datetime | None = None,
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._stop = stop
        self._on_saved = on_saved
        states = load_states(settings, connector.name)
        self._backfill = BackfillMode(since, states) if since else None
        self._mode: Mode = self._backfill or LiveMode()
        self._publisher = Publisher(settings, stop)
        self._deduplication = Deduplication()
        self._checkpoints = Checkpoints(connector.name, self._publisher, states)
        self._metrics = ConnectorMetrics(connector.name, states.values(), self._checkpoints.last_success_at)
        self._backoff = Backoff(connector.name, stop)
        self._has_timed_streams = False
        self._reconcile_at = 0.0

    def run_once(self) -> None:
        """Read every stream to its end. Raises RetryableError after six failures in a row without any progress."""
        batches = 0
        self._backoff.reset()
        while (error := self._run_round()) and not self._stop.is_set():
            if self._checkpoints.batches > batches:
                self._backoff.reset()
            batches = self._checkpoints.batches
            self._backoff.count(error)
            if self._backoff.failures == MAX_ATTEMPTS:
                raise error
            self._backoff.pause(error)

    def run_forever(self) -> None:
        """Read round after round until `stop`."""
        while not self._stop.is_set():
            error = self._run_round()
            if error:
                self._backoff.count(error)
                self._backoff.pause(error)
            else:
                self._backoff.reset()
                self._stop.wait(self._connector.poll_seconds)
        with suppress(RetryableError), self._publishing():
            self._checkpoints.save_pending(now=True)

    @property
    def states(self) -> dict[str, ConnectorState]:
        """The states of this mode: those of live mode, or those of backfills."""
        live = self._backfill is None
        return {name: state for name, state in self._checkpoints.states.items() if is_live(name) == live}

    def reconcile(self) -> Iterator[tuple[str, Window, int, int | None]]:
        """Yield each stream of a finished backfill with its window, the number of records read and the source's own count.

        The difference is saved with the state of the stream. It includes records that the source changed meanwhile.
        """
        for stream, window in (self._backfill.windows if self._backfill else {}).items():
            name = self._mode.state_name(stream)
            read, count = self._checkpoints.states[name].read, self._connector.count(stream, window)
            if count is not None:
                with self._publishing():
                    self._checkpoints.save_difference(name, count - read)
            yield stream, window, read, count

    def close(self) -> None:
        """Close the connector and the producer."""
        self._connector.close()
        self._publisher.close()

    def _run_round(self) -> RetryableError | None:
        """Read all streams once. A failing stream does not keep the others from being read; returns the last error."""
        failure = None
        try:
            for stream in self._mode.list_streams(self._connector, self._checkpoints.states):
                error = self._read_stream(stream)
                failure = error or failure
                if self._stop.is_set() or (isinstance(error, RateLimitedError) and error.scope == "account"):
                    return failure
            with self._publishing():
                self._checkpoints.save_pending()
            if failure is None and self._backfill is None:
                self._finish_round()
        except RetryableError as error:
            return error
        return failure

    def _finish_round(self) -> None:
        """Show that live mode is current: it has read every stream to its end."""
        self._metrics.set_success()
        if self._has_timed_streams and time.monotonic() >= self._reconcile_at:
            self._metrics.set_differences(load_states(self._settings, self._connector.name).values())
            self._reconcile_at = time.monotonic() + RECONCILE_SECONDS
        with self._publishing():
            self._checkpoints.refresh()

    def _read_stream(self, stream: str) -> RetryableError | None:
        """Read one stream to its end. Returns an error of the source; raises an error of Kafka, which all streams need."""
        self._has_timed_streams |= self._connector.describe_stream(stream).is_timed
        deduplication = self._open_deduplication(stream)
        batches = self._mode.read(self._connector, stream, self._checkpoints.states)
        has_expired = False
        while not self._stop.is_set():
            try:
                batch = next(batches, None)  # step 1
            except CursorExpiredError as error:
                if has_expired:
                    return error
                has_expired, batches = True, self._read_after_gap(stream, error)
                continue
            except RetryableError as error:
                return error
            if batch is None:
                break
            encoded = encode_batch(self._connector, stream, batch)  # step 2
            new = deduplication.select_new(encoded, batch.phase)
            if batch.phase is not Phase.REPLAY:
                self._publish_batch(stream, batch, new, deduplication)
        return None

    def _open_deduplication(self, stream: str) -> StreamDeduplication:
        name, spec = self._mode.state_name(stream), self._connector.describe_stream(stream)
        has_others = spec.is_shared and self._backfill is None  # a backfill counts each stream for itself
        others = {each: state for each, state in self.states.items() if each != name} if has_others else {}
        return self._deduplication.open_stream(name, spec, self._checkpoints.states.get(name), others)

    def _publish_batch(self, stream: str, batch: Batch, new: NewRecords, deduplication: StreamDeduplication) -> None:
        topic = source_topic(self._connector.describe_stream(stream).source)
        published_live = sum(self._mode.is_published_live(self._connector, stream, at) for at in new.touchpoint_times)
        with self._publishing():
            for key, value in new.touchpoints:  # step 3
                self._publisher.send(topic, key, value)
            for dead_letter in new.dead_letters:
                self._send_dead_letter(dead_letter)
            self._publisher.flush()  # step 4
            state = self._checkpoints.save_batch(  # step 5
                self._mode.state_name(stream), batch, new, deduplication, published_live=published_live
            )
        self._metrics.count_records(new)
        if self._backfill is None:
            self._metrics.set_last_event(new.last_event_at)
        self._on_saved(state, batch.progress)

    def _read_after_gap(self, stream: str, error: CursorExpiredError) -> Iterator[Batch]:
        """Publish the gap as a dead letter, and read by time from the last position; never from now, which would hide the gap."""
        name, spec = self._mode.state_name(stream), self._connector.describe_stream(stream)
        state = self._checkpoints.states.get(name)
        position = state.position_at - spec.lookback if state and state.position_at else None
        since = max((at for at in (position, error.oldest, self._connector.start) if at), default=EPOCH)
        dead_letter = create_gap_dead_letter(error, state, since, origin=name, source=spec.source, connector=self._connector.name)
        with self._publishing():
            self._send_dead_letter(dead_letter)
            self._publisher.flush()
        self._metrics.count_gap()
        log.warning("%s: %s: %s", self._connector.name, name, dead_letter.detail)
        return self._mode.read(self._connector, stream, self._checkpoints.states, since)

    def _send_dead_letter(self, dead_letter: DeadLetter) -> None:
        self._publisher.send(DEAD_LETTERS, dead_letter.letter_id.bytes, encode_model("dead_letter", dead_letter))

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        """On an error of Kafka, drop the producer and everything that is not saved. The next round reads the batch again."""
        try:
            yield
        except RetryableError:
            self._deduplication.clear()
            self._publisher.close()
            raise
