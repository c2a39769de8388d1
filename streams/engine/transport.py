"""Faust's aiokafka transport with other delivery, commit and seek rules. URL scheme: `touchline://`.

Delivery:
- One event per chunk of records of a partition, instead of four asyncio tasks per record.
- Chunks of one poll are delivered in timestamp order, and a fetch for quiet partitions does not delay busy ones.
- A full queue delays the delivery. It does not pause the partition, because the callback that resumes it can be lost.

Commit:
- A ledger of delivered chunks: an offset may be committed only when all chunks before it are done.
- A failed commit changes no bookkeeping.
- When partitions are revoked, everything that is done is committed, even while another commit runs. If the group has
  already removed this worker, nothing is committed.

Read: a record whose header names are not UTF-8 is read like any other (`schemas/service/kafka_headers.py`).

Seek: no fetch runs while partitions are sought, and all of them are sought.

Checks for stuck partitions and recoveries are left to `watchdog.py`.

The README lists the fault of stock Faust behind each rule, and the test that reproduces it.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Any, cast

import faust
from faust.transport import drivers
from faust.transport.consumer import ensure_TP
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from faust.transport.drivers.aiokafka import Transport as StockTransport
from faust.types.tuples import TP, ConsumerMessage
from mode import ServiceT
from mode.utils.locks import Event

from schemas.service.kafka_headers import tolerate_invalid_header_names
from schemas.service.telemetry import REBALANCES

log = logging.getLogger(__name__)
SCHEME = "touchline"
MAX_CHUNK_RECORDS = 5_000  # a stage has eight chunks in flight and finishes them within seconds at a stop
MAX_CHUNK_BYTES = 4 * 1024 * 1024
FETCH_TIMEOUT_SECONDS = 0.2
MAX_FETCH_WAIT_MS = 100
SMALL_POLL_RECORDS = 1_000
LINGER_SECONDS = 0.05  # after a poll with few records: the next poll returns more, and large chunks cost less per record


def cut_chunks(
    records: Iterable[Any], max_records: int = MAX_CHUNK_RECORDS, max_bytes: int = MAX_CHUNK_BYTES
) -> Iterable[list[Any]]:
    """Yield the records in order, in lists of at most `max_records` and `max_bytes` of values. One record may be larger."""
    chunk: list[Any] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if chunk and (len(chunk) >= max_records or size + length > max_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += length
    if chunk:
        yield chunk


def order_by_timestamp(queues: Mapping[TP, Iterable[list[Any]]]) -> Iterable[tuple[TP, list[Any]]]:
    """Yield the chunks of all partitions in timestamp order; the chunks of each partition stay in order.

    Related records of different topics then meet, and a stage processes several partitions concurrently.
    """
    remaining = {tp: iter(queue) for tp, queue in queues.items()}
    waiting = [(chunk[0].timestamp, tp, chunk) for tp, rest in remaining.items() if (chunk := next(rest, None))]
    heapify(waiting)
    while waiting:
        _, tp, chunk = waiting[0]
        yield tp, chunk
        following = next(remaining[tp], None)
        if following:
            heapreplace(waiting, (following[0].timestamp, tp, following))
        else:
            heappop(waiting)


class Chunk(ConsumerMessage):
    """Message whose value is a list of records, with the offset of the last one and the timestamp of the first one.

    Only the stage sets `is_done`. Faust's own `acked` is not reliable, because a stream also acknowledges events that it skips.
    """

    is_done = False


class Ledger:
    """Chunks of one partition in the order of delivery. The first chunk that is not done limits the commit."""

    def __init__(self) -> None:
        self._delivered: deque[Chunk] = deque()

    def add(self, message: Chunk) -> None:
        self._delivered.append(message)

    def committable_offset(self) -> int | None:
        """Return the offset after the last chunk up to which all are done, or None when the first one is not done."""
        offset = None
        for message in self._delivered:
            if not message.is_done:
                break
            offset = message.offset + 1
        return offset

    def forget_committed(self, offset: int) -> None:
        """Remove the chunks before a committed offset."""
        while self._delivered and self._delivered[0].offset < offset:
            self._delivered.popleft()

    def oldest_pending_timestamp(self) -> float | None:
        """Return the Kafka timestamp of the first chunk that is not done (seconds since 1970), or None."""
        pending = next((message for message in self._delivered if not message.is_done), None)
        return None if pending is None else pending.timestamp


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread with a short fetch wait.

    aiokafka runs one fetch per broker at a time, and requests only partitions without buffered records. A fetch of quiet
    partitions alone delays new records of busy ones, by 1.5 s with Faust's own value.
    """

    def _create_consumer(self, *args: Any, **kwargs: Any) -> Any:
        consumer = super()._create_consumer(*args, **kwargs)
        consumer._fetch_max_wait_ms = MAX_FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        return consumer


class Consumer(StockConsumer):
    """Consumer that delivers chunks and commits by the ledger. Guarantee: at least once, in order per partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledgers: defaultdict[TP, Ledger] = defaultdict(Ledger)
        self._seek_lock = asyncio.Lock()
        self._seeks = 0

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Chunk]]:  # noqa: ASYNC109 - Faust's signature
        await self.wait(cast("Event", self.can_resume_flow))
        async with self._seek_lock:
            active = self._get_active_partitions()
            fetched = await self._getmany(active, timeout) if active else {}
            generation, seeks = self.app.consumer_generation_id, self._seeks
        if not active:
            await self.sleep(timeout)
        for tp, chunk in order_by_timestamp({tp: cut_chunks(records) for tp, records in fetched.items()}):
            if self._is_outdated(generation, seeks):
                return
            yield tp, self._message(tp, chunk, generation)

    def _is_outdated(self, generation: int, seeks: int) -> bool:
        """Return whether a rebalance or a seek followed the fetch. Its records come again and must not be delivered now."""
        return not self.flow_active or self.app.consumer_generation_id != generation or self._seeks != seeks

    def _message(self, tp: TP, chunk: list[Any], generation: int) -> Chunk:
        first, last = chunk[0], chunk[-1]
        return Chunk(
            topic=last.topic,
            partition=last.partition,
            offset=last.offset,
            timestamp=first.timestamp / 1000,
            timestamp_type=first.timestamp_type,
            headers=None,
            key=None,
            value=cast("bytes", chunk),
            checksum=None,
            tp=tp,
            generation_id=generation,
        )

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        while not (self.should_stop or fetcher.should_stop):
            delivered = 0
            async for tp, message in self.getmany(timeout=FETCH_TIMEOUT_SECONDS):
                delivered += len(message.value or ())
                if self.app.topics.acks_enabled_for(message.topic):
                    self.ledgers[tp].add(message)
                await self.wait_first(self.callback(message), self.suspend_flow.wait())
            await self.sleep(LINGER_SECONDS if 0 < delivered < SMALL_POLL_RECORDS else 0)

    def measure_lag(self, topics: Collection[str]) -> tuple[int, float]:
        """Return the consumer lag of `topics` on the assigned partitions, and the age in seconds of the oldest pending chunk."""
        assigned = [tp for tp in self.assignment() if tp.topic in topics]
        behind = sum(max(0, (self.highwater(tp) or 0) - (self._committed_offset[tp] or 0)) for tp in assigned)
        oldest = [at for tp in assigned if (at := self.ledgers[tp].oldest_pending_timestamp()) is not None]
        return behind, max(0.0, time.time() - min(oldest)) if oldest else 0.0

    def committed_offsets(self, topics: Collection[str]) -> dict[TP, int]:
        """Return the committed offset of each assigned partition of `topics`, 0 for none."""
        return {tp: self._committed_offset[tp] or 0 for tp in self.assignment() if tp.topic in topics}

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue already delays the delivery, which is enough back-pressure.

        Faust pauses the partition until a callback of the queue, which a rebalance can lose for ever.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: nothing was paused, see `on_buffer_full`."""

    async def perform_seek(self) -> None:
        """Seek all partitions to their committed offsets and forget earlier deliveries, which come again.

        No fetch runs during the seeks: its records would be lost or counted twice. Partitions without a committed offset are
        sought to the beginning; aiokafka leaves them after the discarded records.
        """
        async with self._seek_lock:
            committed = await self.seek_to_committed()
            fresh = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(ensure_TP(tp))]
            if fresh:
                await self._thread.seek_to_beginning(*fresh)
            self._committed_offset.update({ensure_TP(tp): offset or None for tp, offset in committed.items()})
            self.ledgers.clear()
            self._seeks += 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit the chunks in flight, however long it takes; heartbeats continue from their own thread.

        If the group has removed this worker, nothing is committed, because other workers have the partitions.
        """
        if self._is_removed_from_group():
            self._forget(revoked)
        await super().on_partitions_revoked(revoked)
        self._forget(revoked)
        lost = bool(revoked) and self._is_removed_from_group()
        REBALANCES.labels("lost" if lost else "agreed").inc()
        if lost:
            log.warning("the group received no heartbeat in time and removed this worker; it joins again, others repeat its work")

    async def commit_and_end_transactions(self) -> None:
        """Commit everything that is done before the partitions are revoked, after any commit that already runs.

        Faust waits for the running commit and then commits nothing, although the running one may have begun too early.
        """
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _is_removed_from_group(self) -> bool:
        return int(self._thread._ensure_consumer()._coordinator.generation) < 0  # noqa: SLF001 - no public attribute has it

    def _forget(self, revoked: set[TP]) -> None:
        for tp in revoked:
            self.ledgers.pop(tp, None)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave the check for stuck partitions to `watchdog.py`, which compares committed offsets with the end of the log.

        Faust compares the fetched position with the end of the log and with the time of the last event. A record that arrives
        after five quiet minutes makes it report an error, although nothing is stuck.
        """

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Leave the check for a stuck recovery to `watchdog.py`.

        Faust compares with the start of the worker. A recovery that begins more than five minutes later looks stuck at once.
        """

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        """Yield every partition with delivered chunks. On revocation, Faust clears its bookkeeping before the last commit."""
        return (tp for tp in list(self.ledgers) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.ledgers[tp].committable_offset()

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > (self._committed_offset[tp] or 0)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002
        assigned = self.assignment()
        committable = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not committable or not await self._commit(committable):
            return False
        self._committed_offset.update(committable)
        for tp, offset in committable.items():
            self.ledgers[tp].forget_committed(offset)
        return True


class Transport(StockTransport):
    """`touchline://host:port[,host:port]`."""

    Consumer = Consumer


class ChunkSchema(faust.Schema[Any, Any]):
    """Schema that passes the chunk undecoded, so that the stage handles invalid bytes and not Faust's conductor."""

    def compile(self, app: Any, **_errors: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust calls it so
            return app.create_event(None, message.value, {}, message)

        return decode


tolerate_invalid_header_names()
drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
