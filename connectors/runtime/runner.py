"""Runs one connector. The order of these steps is the guarantee that nothing is lost:

1. read the next batch
2. map each of its records; what cannot be mapped becomes a dead letter
3. publish touchpoints and dead letters
4. wait for every acknowledgement
5. save cursor and totals, acknowledged

Where a source has no place to go on from (its records are sent to us), there are only totals to save: that is done once a
second, and a crash may count less than was published.

Live reading that finds nothing new saves a state again every 30 seconds, with the same cursor and a new `last_success_at`.

A crash after any step reads the batch again: its touchpoints and dead letters carry the same ids, and its totals were not
saved without its cursor. What is `repeated` is exact, too: a stream of files replays what lies before its cursor, and the
runner remembers the event ids of a stream while it reads it (about 130 bytes each). Of a timed stream it holds the ids that
the overlap may bring again, and saves with the cursor those that came last.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

from connectors.contract import Batch, Connector, Phase, StreamSpec, Window
from connectors.errors import CursorExpiredError, RateLimitedError
from connectors.runtime.deduplication import Memory
from connectors.runtime.encode import STAGE, Outgoing, gap, outgoing
from connectors.runtime.mode import BACKFILL, Backfill, Live, Reading
from connectors.runtime.publisher import Publisher, load_states, save_state
from schemas.errors import RetryableError
from schemas.records.connector_state import ConnectorState
from schemas.records.fields import EPOCH
from schemas.service.connection import KafkaSettings
from schemas.service.telemetry import (
    CONNECTOR_EVENT,
    CONNECTOR_GAPS,
    CONNECTOR_RECONCILIATION,
    CONNECTOR_RETRIES,
    CONNECTOR_SUCCESS,
    RECORDS,
)
from schemas.service.telemetry import DEAD_LETTERS as REFUSED
from schemas.wire.codec import encode_model
from schemas.wire.topics import DEAD_LETTERS, source_topic

MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
SAVE_SECONDS = 1.0
FRESH_SECONDS = 30.0
RECONCILED_SECONDS = 3_600.0
Watch = Callable[[ConnectorState, float], None]
log = logging.getLogger(__name__)


class Runner:
    """Publishes what a connector reads: live, or a backfill from `since`.

    `watch` is called after each saved batch with the stream's state and the share of the stream read so far; `stop` ends
    the run after the batch at hand. `states` holds the saved state of each stream.
    """

    def __init__(
        self, connector: Connector, settings: KafkaSettings, stop: threading.Event, watch: Watch, since: datetime | None = None
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._stop = stop
        self._watch = watch
        self.states = load_states(settings, connector.name)
        self._backfill = Backfill(since, self.states) if since else None
        self._reading: Reading = self._backfill or Live()
        live = [state for name, state in self.states.items() if not name.startswith(BACKFILL)]
        self._newest = max((state.last_event_at for state in live if state.last_event_at), default=EPOCH)
        self._publisher = Publisher(settings, stop)
        self._last = max(live, key=lambda state: state.last_success_at, default=None)
        self._stale = 0.0
        last = self._last.last_success_at if self._last else datetime.now(UTC)
        CONNECTOR_SUCCESS.labels(connector.name).set(last.timestamp())
        CONNECTOR_GAPS.labels(connector.name)
        self._timed = False
        self._reconciled = 0.0
        self._saved = 0
        self._unsaved: dict[str, ConnectorState] = {}
        self._due: dict[str, float] = {}
        self._memories: dict[str, Memory] = {}

    def once(self) -> None:
        """Read every stream to its end. Raises RetryableError when that fails six times in a row without any progress."""
        failed, saved = 0, 0
        while (error := self._round()) and not self._stop.is_set():
            failed = self._failed(failed if self._saved == saved else 0, error)
            saved = self._saved
            if failed == MAX_ATTEMPTS:
                raise error
            self._back_off(failed, error)

    def forever(self) -> None:
        """Read round after round until `stop`."""
        failed = 0
        while not self._stop.is_set():
            error = self._round()
            if error:
                failed = self._failed(failed, error)
                self._back_off(failed, error)
            else:
                failed = 0
                self._stop.wait(self._connector.poll_seconds)
        with suppress(RetryableError):
            self._save_rest(now=True)

    def read_states(self) -> dict[str, ConnectorState]:
        """The states of the streams that this way of reading keeps: live ones, or those of backfills."""
        kept = self._backfill is not None
        return {name: state for name, state in self.states.items() if name.startswith(BACKFILL) == kept}

    def counted(self) -> Iterator[tuple[str, Window, int, int | None]]:
        """For each stream of a finished backfill: its window, how many records were read, and what the source counts in it.

        The difference is saved with the stream's state. Records that came, changed or went meanwhile are part of it.
        """
        for stream, window in (self._backfill.windows if self._backfill else {}).items():
            state, count = self.states[self._reading.name(stream)], self._connector.count(stream, window)
            if count is not None:
                with self._publishing():
                    save_state(self._publisher, state.model_copy(update={"backfill_difference": count - state.read}))
            yield stream, window, state.read, count

    def close(self) -> None:
        """Close the connector and the producer."""
        self._connector.close()
        self._publisher.close()

    def _round(self) -> RetryableError | None:
        """One pass over all streams; a stream that cannot be read now does not keep the others from it."""
        failure = None
        try:
            for stream in self._reading.list_streams(self._connector, self.states):
                error = self._stream(stream)
                failure = error or failure
                if self._stop.is_set() or (isinstance(error, RateLimitedError) and error.scope == "account"):
                    return failure
            self._save_rest(now=False)
            if failure is None and self._backfill is None:
                self._succeeded()
        except RetryableError as error:
            return error
        return failure

    def _succeeded(self) -> None:
        """Tell that live reading is current, in Kafka by one stream alone: there may be thousands, one of each file."""
        CONNECTOR_SUCCESS.labels(self._connector.name).set_to_current_time()
        if self._timed and time.monotonic() >= self._reconciled:
            self._reconcile()
        if self._last and time.monotonic() >= self._stale:
            state = self.states[self._last.stream].model_copy(update={"last_success_at": datetime.now(UTC)})
            with self._publishing():
                self._save(state, now=True)
            self.states[state.stream] = state

    def _reconcile(self) -> None:
        """Show how the backfills ended: their own processes are gone before anybody asks them."""
        for name, state in load_states(self._settings, self._connector.name).items():
            if name.startswith(BACKFILL) and state.backfill_difference is not None:
                stream = name.removeprefix(BACKFILL)
                CONNECTOR_RECONCILIATION.labels(self._connector.name, stream).set(state.backfill_difference)
        self._reconciled = time.monotonic() + RECONCILED_SECONDS

    def _stream(self, stream: str) -> RetryableError | None:
        """Read one stream to its end. Returns an error of the source; raises one of Kafka, which all streams share."""
        spec = self._connector.describe_stream(stream)
        self._timed |= spec.timed
        memory = self._memory(stream, spec)
        batches = self._reading.read(self._connector, stream, self.states)
        expired = False
        while not self._stop.is_set():
            try:
                batch = next(batches, None)  # step 1
            except CursorExpiredError as error:
                if expired:
                    return error
                expired, batches = True, self._after_gap(stream, error)
                continue
            except RetryableError as error:
                return error
            if batch is None:
                break
            if batch.phase is Phase.RESTART:
                memory = self._remembering(self._reading.name(stream), Memory(None, spec))
            found = outgoing(self._connector, stream, batch, memory.seen, memory.said)  # step 2
            if batch.phase is not Phase.REPLAY:
                memory.learn([*found.timed, *found.known])
                self._deliver(stream, batch, found, memory)
        return None

    def _memory(self, stream: str, spec: StreamSpec) -> Memory:
        """What the rounds before have left, or else what is saved of it."""
        name = self._reading.name(stream)
        elsewhere = self._elsewhere(name, spec) if spec.shared else frozenset()
        if memory := self._memories.get(name):
            memory.another_pass(elsewhere)
            return memory
        return self._remembering(name, Memory(self.states.get(name), spec, elsewhere))

    def _remembering(self, name: str, memory: Memory) -> Memory:
        if memory.lasts:
            self._memories[name] = memory
        return memory

    def _elsewhere(self, name: str, spec: StreamSpec) -> frozenset[UUID]:
        """What the other live streams remember; a backfill counts anew, each stream for itself."""
        if self._backfill:
            return frozenset()
        others = [other for other in self.read_states() if other != name]
        return frozenset[UUID]().union(
            *((self._memories.get(each) or Memory(self.states[each], spec)).recent.ids() for each in others)
        )

    def _after_gap(self, stream: str, error: CursorExpiredError) -> Iterator[Batch]:
        """Record the gap, and read by time from where the stream stood; never from now on, as if nothing had been missed."""
        name, spec = self._reading.name(stream), self._connector.describe_stream(stream)
        state = self.states.get(name)
        position = state.position_at - spec.lookback if state and state.position_at else None
        since = max((at for at in (position, error.oldest, self._connector.start) if at), default=EPOCH)
        letter = gap(error, state, since, origin=name, source=spec.source, connector=self._connector.name)
        with self._publishing():
            self._publisher.send(DEAD_LETTERS, letter.letter_id.bytes, encode_model("dead_letter", letter))
            self._publisher.acknowledged()
        CONNECTOR_GAPS.labels(self._connector.name).inc()
        log.warning("%s: %s: %s", self._connector.name, name, letter.detail)
        return self._reading.read(self._connector, stream, self.states, since)

    def _deliver(self, stream: str, batch: Batch, found: Outgoing, memory: Memory) -> None:
        topic = source_topic(self._connector.describe_stream(stream).source)
        state = self._state(stream, batch, found, memory)
        with self._publishing():
            for key, value in found.touchpoints:  # step 3
                self._publisher.send(topic, key, value)
            for letter in found.dead_letters:
                self._publisher.send(DEAD_LETTERS, letter.letter_id.bytes, encode_model("dead_letter", letter))
            self._publisher.acknowledged()  # step 4
            self._save(state, now=bool(batch.cursor))  # step 5
        self.states[state.stream] = state
        self._saved += 1
        self._count(found)
        self._watch(state, batch.progress)

    def _save(self, state: ConnectorState, *, now: bool) -> None:
        """Save the state now, or once a second has passed since the last one of its stream was."""
        if now or time.monotonic() >= self._due.get(state.stream, 0.0):
            save_state(self._publisher, state)
            self._due[state.stream] = time.monotonic() + SAVE_SECONDS
            self._unsaved.pop(state.stream, None)
            self._last, self._stale = state, time.monotonic() + FRESH_SECONDS
        else:
            self._unsaved[state.stream] = state

    def _save_rest(self, *, now: bool) -> None:
        for state in list(self._unsaved.values()):
            with self._publishing():
                self._save(state, now=now)

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        """What Kafka did not acknowledge is dropped, to be read and sent again; nothing remembers it but what is saved."""
        try:
            yield
        except RetryableError:
            self._memories.clear()
            self._publisher.close()
            raise

    def _state(self, stream: str, batch: Batch, found: Outgoing, memory: Memory) -> ConnectorState:
        """The stream's state after the batch; a RESTART counts from zero."""
        name = self._reading.name(stream)
        old = None if batch.phase is Phase.RESTART else self.states.get(name)
        events = [at for at in (old and old.last_event_at, found.newest) if at]
        positions = [at for at in (old and old.position_at, *(at for _, at in (*found.timed, *found.known))) if at]
        letters = {letter.letter_id for letter in found.dead_letters}
        again = sum(self._reading.covers(self._connector, stream, at) for one, at in found.timed if one not in letters)
        return ConnectorState(
            connector=self._connector.name,
            stream=name,
            cursor=json.dumps(dict(batch.cursor)),
            read=(old.read if old else 0) + len(batch.records),
            published=(old.published if old else 0) + len(found.touchpoints) - again,
            dead_lettered=(old.dead_lettered if old else 0) + len(found.dead_letters),
            repeated=(old.repeated if old else 0) + found.repeated + again,
            last_event_at=max(events, default=None),
            last_success_at=datetime.now(UTC),
            position_at=max(positions, default=None),
            recent=memory.recent.packed() or None,
            projections=memory.said.packed() if memory.said else None,
        )

    def _count(self, found: Outgoing) -> None:
        RECORDS.labels(STAGE, "published").inc(len(found.touchpoints))
        RECORDS.labels(STAGE, "dead_lettered").inc(len(found.dead_letters))
        RECORDS.labels(STAGE, "repeated").inc(found.repeated)
        for letter in found.dead_letters:
            REFUSED.labels(STAGE, letter.reason).inc()
        if found.newest and self._backfill is None:
            self._newest = max(self._newest, found.newest)
            CONNECTOR_EVENT.labels(self._connector.name).set(self._newest.timestamp())

    @staticmethod
    def _failed(before: int, error: RetryableError) -> int:
        """How many times in a row it has failed; to be told to wait is no failure."""
        return before if isinstance(error, RateLimitedError) else before + 1

    def _back_off(self, failed: int, error: RetryableError) -> None:
        """Full jitter: anything between nothing and twice as much as last time, at least what the source asked for."""
        longest = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**failed)
        seconds = max(error.retry_after or 0.0, random.uniform(0, longest))  # noqa: S311 - jitter, no secret
        limited = isinstance(error, RateLimitedError)
        CONNECTOR_RETRIES.labels(self._connector.name, "rate" if limited else "failure").inc()
        level = logging.INFO if limited and seconds <= MAX_BACKOFF_SECONDS else logging.WARNING
        log.log(level, "%s: %s; trying again in %.1f s", self._connector.name, error, seconds)
        self._stop.wait(seconds)
