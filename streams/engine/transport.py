"""Faust's aiokafka transport, changed in five ways; it registers by the URL scheme `touchline://`.

1. One event per (partition, chunk of records) instead of four asyncio tasks per record.
2. A ledger of delivered chunks: an offset can be committed only when every chunk before it is done.
   Stock Faust may commit past the head of what is in flight (README, "What stock Faust does").
3. A commit that failed moves no bookkeeping.
4. No fetch runs while partitions are sought, and all of them are sought.
5. Of what a poll brings, the chunk that came to Kafka first goes first; quiet partitions do not hold up busy ones.
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

from schemas.service.telemetry import REBALANCES

log = logging.getLogger(__name__)
SCHEME = "touchline"
CHUNK_RECORDS = 5_000  # eight in hand of each stage: all are done within seconds of a stop
CHUNK_BYTES = 4 * 1024 * 1024
FETCH_SECONDS = 0.2
FETCH_WAIT_MS = 100
FEW_RECORDS = 1_000
LINGER_SECONDS = 0.05  # after a poll that brought few: the next brings more, and small chunks cost more than large ones


def chunks(records: Iterable[Any], most_records: int = CHUNK_RECORDS, most_bytes: int = CHUNK_BYTES) -> Iterable[list[Any]]:
    """Records in order, cut into lists of at most `most_records` and, but for one giant record, `most_bytes` of values."""
    chunk: list[Any] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if chunk and (len(chunk) >= most_records or size + length > most_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += length
    if chunk:
        yield chunk


def order_by_timestamp(queues: Mapping[TP, Iterable[list[Any]]]) -> Iterable[tuple[TP, list[Any]]]:
    """Chunks of all partitions, always the one that came to Kafka first: what belongs together meets, whatever topic it came by,
    and a stage has several partitions in hand, so that their waits overlap."""
    rests = {tp: iter(queue) for tp, queue in queues.items()}
    waiting = [(chunk[0].timestamp, tp, chunk) for tp, rest in rests.items() if (chunk := next(rest, None))]
    heapify(waiting)
    while waiting:
        _, tp, chunk = waiting[0]
        yield tp, chunk
        following = next(rests[tp], None)
        if following:
            heapreplace(waiting, (following[0].timestamp, tp, following))
        else:
            heappop(waiting)


class Chunk(ConsumerMessage):
    """A message whose value is a list of records, with the offset of the last one and the time of the first one.

    `done` is set by the stage alone. Faust's own `acked` does not count: a stream also acknowledges what it skips.
    """

    done = False


class Ledger:
    """Chunks of one partition in the order of delivery; the head says how far a commit may go."""

    def __init__(self) -> None:
        self._delivered: deque[Chunk] = deque()

    def deliver(self, message: Chunk) -> None:
        self._delivered.append(message)

    def committable(self) -> int | None:
        """The offset after the last chunk that is done with nothing undone before it; None where the head is not done."""
        offset = None
        for message in self._delivered:
            if not message.done:
                break
            offset = message.offset + 1
        return offset

    def committed(self, offset: int) -> None:
        """Forget what lies before a committed offset."""
        while self._delivered and self._delivered[0].offset < offset:
            self._delivered.popleft()

    def oldest(self) -> float | None:
        """When the first record of the first chunk that is not done came to Kafka (seconds since 1970), or None."""
        waiting = next((message for message in self._delivered if not message.done), None)
        return None if waiting is None else waiting.timestamp


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's, but a fetch that finds nothing comes back soon.

    aiokafka has one fetch at a time under way for each broker, and it asks only for partitions of which nothing is at hand.
    One that asks for quiet partitions alone keeps what comes to the busy ones waiting: with Faust's 1.5 s, for so long.
    """

    def _create_consumer(self, *args: Any, **kwargs: Any) -> Any:
        consumer = super()._create_consumer(*args, **kwargs)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        return consumer


class Consumer(StockConsumer):
    """Delivers chunks and commits by the ledger. Guarantee: at least once, in order, per partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledgers: defaultdict[TP, Ledger] = defaultdict(Ledger)
        self._position = asyncio.Lock()
        self._seeks = 0

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Chunk]]:  # noqa: ASYNC109 - Faust's signature
        await self.wait(cast("Event", self.can_resume_flow))
        async with self._position:
            active = self._get_active_partitions()
            fetched = await self._getmany(active, timeout) if active else {}
            generation, seeks = self.app.consumer_generation_id, self._seeks
        if not active:
            await self.sleep(timeout)
        for tp, chunk in order_by_timestamp({tp: chunks(records) for tp, records in fetched.items()}):
            if self._outdated(generation, seeks):
                return
            yield tp, self._message(tp, chunk, generation)

    def _outdated(self, generation: int, seeks: int) -> bool:
        """What was fetched before a rebalance or a seek comes again, and must not be delivered out of order now."""
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
            async for tp, message in self.getmany(timeout=FETCH_SECONDS):
                delivered += len(message.value or ())
                if self.app.topics.acks_enabled_for(message.topic):
                    self.ledgers[tp].deliver(message)
                await self.wait_first(self.callback(message), self.suspend_flow.wait())
            await self.sleep(LINGER_SECONDS if 0 < delivered < FEW_RECORDS else 0)

    def lag(self, topics: Collection[str]) -> tuple[int, float]:
        """Records of `topics` not yet committed on our partitions, and the age in seconds of the oldest one taken up."""
        mine = [tp for tp in self.assignment() if tp.topic in topics]
        behind = sum(max(0, (self.highwater(tp) or 0) - (self._committed_offset[tp] or 0)) for tp in mine)
        oldest = [at for tp in mine if (at := self.ledgers[tp].oldest()) is not None]
        return behind, max(0.0, time.time() - min(oldest)) if oldest else 0.0

    def committed(self, topics: Collection[str]) -> dict[TP, int]:
        """The next offset to commit from, on each of our partitions of `topics`; 0 where nothing was committed yet."""
        return {tp: self._committed_offset[tp] or 0 for tp in self.assignment() if tp.topic in topics}

    def on_buffer_full(self, tp: TP) -> None:
        """A full queue makes the delivery wait: that is all the back-pressure it takes.

        Faust would stop fetching the partition until a callback of the queue, which a rebalance can lose for good.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing was stopped, see `on_buffer_full`."""

    async def perform_seek(self) -> None:
        """Begin again at the committed offsets: what was delivered before comes again, and only that counts.

        No fetch runs meanwhile: a fetch between the seeks of two partitions would be thrown away or counted twice.
        Partitions without a committed offset are sought, too; aiokafka leaves them behind what was thrown away.
        """
        async with self._position:
            committed = await self.seek_to_committed()
            fresh = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(ensure_TP(tp))]
            if fresh:
                await self._thread.seek_to_beginning(*fresh)
            self._committed_offset.update({ensure_TP(tp): offset or None for tp, offset in committed.items()})
            self.ledgers.clear()
            self._seeks += 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit what the stages have in hand, for as long as that takes: heartbeats go on from their own thread.

        Where the group has given us up, before this or meanwhile, nothing more is committed: others have the partitions.
        """
        if self._given_up():
            self._forget(revoked)
        await super().on_partitions_revoked(revoked)
        self._forget(revoked)
        lost = bool(revoked) and self._given_up()
        REBALANCES.labels("lost" if lost else "agreed").inc()
        if lost:
            log.warning("the group did not hear from this worker in time and gave it up; it joins anew, others do its work again")

    async def commit_and_end_transactions(self) -> None:
        """The last commit before partitions go, and it holds all that is done: one that is under way may have begun before.

        Faust would wait for that one and commit nothing more.
        """
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _given_up(self) -> bool:
        return int(self._thread._ensure_consumer()._coordinator.generation) < 0  # noqa: SLF001 - nothing public tells it

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
        """Every partition of which something was delivered. When partitions are revoked, Faust first forgets what it was told is
        done, then commits; the ledgers are forgotten last."""
        return (tp for tp in list(self.ledgers) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.ledgers[tp].committable()

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > (self._committed_offset[tp] or 0)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002
        assigned = self.assignment()
        committable = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not committable or not await self._commit(committable):
            return False
        self._committed_offset.update(committable)
        for tp, offset in committable.items():
            self.ledgers[tp].committed(offset)
        return True


class Transport(StockTransport):
    """`touchline://host:port[,host:port]`."""

    Consumer = Consumer


class ChunkSchema(faust.Schema[Any, Any]):
    """The value of an event is its chunk, undecoded: bad bytes are the stage's business, never the conductor's."""

    def compile(self, app: Any, **_errors: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust calls it so
            return app.create_event(None, message.value, {}, message)

        return decode


drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
