"""Read-only local copy of a compacted topic, updated in the background: the identity map on every worker.

A worker loads the copy to the end that the topic has at its start, before it takes any partition. Afterwards the copy may lag,
so its readers must give right answers with old values. The topic has one partition. The copy uses no consumer group and
continues at its stored position after a restart.

A record that cannot be read is counted and skipped, and the row of its key stays. Rows that have expired are not stored, and
once a day those that expired since are dropped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.service import telemetry
from schemas.service.connection import KafkaSettings
from streams.engine.store import rocksdb_options

log = logging.getLogger(__name__)
OWN_KEYS = b"\x00"  # first byte of the keys that are no rows
POSITION = OWN_KEYS + b"position"
EXPIRED_AT = OWN_KEYS + b"expired"
FINAL = OWN_KEYS + b"final"
MAX_CACHED_KEYS = 100_000
MAX_FETCH_BYTES = 8 * 1024 * 1024
LOADING_RECORDS, FOLLOWING_RECORDS = 20_000, 5_000  # applied at once: a follower must not block the event loop for long
EXPIRY_SECONDS = 24 * 3600
EXPIRY_ROWS = 10_000
Extract = Callable[[bytes], bytes | None]
Expire = Callable[[bytes, int], bool]
IsFinal = Callable[[bytes], bool]


class Replica:
    """Local copy: `get` reads it, `follow` updates it until cancelled, and `is_loaded` holds from the first end on."""

    def __init__(
        self,
        topic: str,
        path: Path,
        extract: Extract,
        expire: Expire | None = None,
        is_final: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Open the copy.

        - `extract(value)` returns the row of a record, or None for a record whose row is not kept.
        - `is_final(row)` returns whether only a row of which this is true as well may replace the row.
        - `expire(row, now)` returns whether a row has expired; `now` is in milliseconds since 1970.
        """
        self.topic = topic
        self.name = f"{topic.removeprefix('touchline.')} copy"
        self._partition = TopicPartition(topic, 0)
        self._extract = extract
        self._expire = expire
        self._is_final = is_final
        self._cache: dict[bytes, bytes | None] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = rocksdict.Rdict(str(path), rocksdb_options())
        self._final = set(self._load_final()) if is_final else set()
        self._first = self._position = 0
        self._target: int | None = None

    @property
    def is_loaded(self) -> bool:
        """Return whether the copy has reached the end that the topic had at the start."""
        return self._target is not None and self._position >= self._target

    def remaining(self) -> int:
        """Return the number of offsets to the end that the topic had at the start."""
        return max(0, (self._target or 0) - self._position)

    def progress(self) -> int:
        """Return the loaded part of the topic in percent."""
        if self._target is None:
            return 0
        return 100 if self.is_loaded else 100 * (self._position - self._first) // (self._target - self._first)

    def get(self, key: bytes) -> bytes | None:
        """Return the newest known row of `key`, or None. Recent keys come from memory."""
        if key not in self._cache:
            if len(self._cache) >= MAX_CACHED_KEYS:
                self._cache.clear()
            self._cache[key] = self._rows.get(key)
        return self._cache[key]

    async def follow(self, settings: KafkaSettings) -> None:
        """Read the topic from the stored position on. Each chunk is written together with its position."""
        consumer = AIOKafkaConsumer(
            **settings.aiokafka(), enable_auto_commit=False, fetch_max_wait_ms=100, max_partition_fetch_bytes=MAX_FETCH_BYTES
        )
        await consumer.start()
        try:
            consumer.assign([self._partition])
            await self._find_start(consumer)
            consumer.seek(self._partition, self._position)
            while True:
                count = FOLLOWING_RECORDS if self.is_loaded else LOADING_RECORDS
                for records in (await consumer.getmany(timeout_ms=1_000, max_records=count)).values():
                    self._apply(records, _now())
                self._position = await consumer.position(self._partition)
                if self._is_expiry_due():
                    await self.drop_expired(_now())
        finally:
            await asyncio.shield(consumer.stop())

    async def _find_start(self, consumer: AIOKafkaConsumer) -> None:
        """Set the first offset to read and the end to load."""
        self._first = (await consumer.beginning_offsets([self._partition]))[self._partition]
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        stored = int(self._rows.get(POSITION) or 0)
        self._position = stored if self._first <= stored <= end else self._first
        self._target = end

    def _apply(self, records: Sequence[Any], now: int) -> None:
        """Write the rows of some records together with the position after them."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        skipped = 0
        for record in records:
            key = record.key
            try:
                row = None if record.value is None else self._extract(record.value)
                is_kept = row is not None and not (self._expire and self._expire(row, now))
            except Exception:  # noqa: BLE001 - no record may end the worker, whatever its bytes are
                key = None
            if key is None or key.startswith(OWN_KEYS):
                skipped += 1
            else:
                if key in self._final and not (is_kept and self._is_final_row(row)):
                    continue
                if is_kept:
                    batch.put(key, row)
                    if self._is_final_row(row) and key not in self._final:
                        self._final.add(key)
                        batch.put(FINAL + key, b"1")
                else:
                    batch.delete(key)
                self._cache.pop(key, None)
        batch.put(POSITION, str(records[-1].offset + 1).encode())
        self._rows.write(batch)
        if skipped:
            telemetry.SKIPPED.labels(self.topic).inc(skipped)
            first, last = records[0].offset, records[-1].offset
            log.error("skipped %d unreadable records of %s/0 between offsets %d and %d", skipped, self.topic, first, last)

    def _is_final_row(self, row: bytes | None) -> bool:
        return self._is_final is not None and row is not None and self._is_final(row)

    def _load_final(self) -> Iterator[bytes]:
        """Yield the keys of all final rows, which are few."""
        for key in self._rows.keys(from_key=FINAL):
            if not cast(bytes, key).startswith(FINAL):
                return
            yield cast(bytes, key)[len(FINAL) :]

    def _is_expiry_due(self) -> bool:
        if self._expire is None or not self.is_loaded:
            return False
        return _now() - int(self._rows.get(EXPIRED_AT) or 0) >= EXPIRY_SECONDS * 1000

    async def drop_expired(self, now: int) -> None:
        """Drop all rows that have expired. Other work of the event loop continues between slices of `EXPIRY_ROWS`."""
        assert self._expire
        dropped = 0
        rows = cast("Iterable[tuple[bytes, bytes]]", self._rows.items())
        for number, (key, row) in enumerate(rows, 1):
            if not key.startswith(OWN_KEYS) and self._expire(row, now) and self._rows.get(key) == row:
                self._rows.delete(key)
                self._cache.pop(key, None)
                dropped += 1
            if number % EXPIRY_ROWS == 0:
                await asyncio.sleep(0)
        self._rows.put(EXPIRED_AT, str(now).encode())
        telemetry.COPY_EXPIRED.labels(self.topic).inc(dropped)


def _now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
