"""Read-only local copy of a compacted topic, updated in the background: the identity map on every worker.

The copy may lag, so its readers must give right answers with old values. The topic has one partition. The copy uses no
consumer group and continues at its stored position after a restart.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.service.connection import KafkaSettings
from streams.engine.store import rocksdb_options

POSITION = b"\x00position"
MAX_CACHED_KEYS = 100_000


class Replica:
    """Local copy: `get` reads it, and `follow` updates it until cancelled."""

    def __init__(self, topic: str, path: Path, extract: Callable[[bytes], bytes]) -> None:
        """`extract` returns the part of a record's value that the copy keeps."""
        self._topic = TopicPartition(topic, 0)
        self._extract = extract
        self._cache: dict[bytes, bytes | None] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = rocksdict.Rdict(str(path), rocksdb_options())

    def get(self, key: bytes) -> bytes | None:
        """Return the newest known value of `key`, or None. Recent keys come from memory."""
        if key not in self._cache:
            if len(self._cache) >= MAX_CACHED_KEYS:
                self._cache.clear()
            self._cache[key] = self._rows.get(key)
        return self._cache[key]

    async def follow(self, settings: KafkaSettings) -> None:
        """Read the topic from the stored position on. Each chunk is written together with its position."""
        consumer = AIOKafkaConsumer(**settings.aiokafka(), enable_auto_commit=False, fetch_max_wait_ms=100)
        await consumer.start()
        try:
            consumer.assign([self._topic])
            consumer.seek(self._topic, await self._start(consumer))
            while True:
                for records in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
                    self._apply(records)
        finally:
            await asyncio.shield(consumer.stop())

    async def _start(self, consumer: AIOKafkaConsumer) -> int:
        first = (await consumer.beginning_offsets([self._topic]))[self._topic]
        end = (await consumer.end_offsets([self._topic]))[self._topic]
        stored = int(self._rows.get(POSITION) or 0)
        return stored if first <= stored <= end else first

    def _apply(self, records: list) -> None:  # type: ignore[type-arg]
        batch = rocksdict.WriteBatch(raw_mode=True)
        for record in records:
            if record.value is None:
                batch.delete(record.key)
            else:
                batch.put(record.key, self._extract(record.value))
            self._cache.pop(record.key, None)
        batch.put(POSITION, str(records[-1].offset + 1).encode())
        self._rows.write(batch)
