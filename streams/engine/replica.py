"""A read-only local copy of a compacted topic, kept up to date in the background: the identity map on every worker.

It may lag; whoever reads it must be right with an old answer. One partition, no consumer group, restarts where it was.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.service.connection import KafkaSettings
from streams.engine.store import options

POSITION = b"\x00position"
REMEMBERED = 100_000


class Replica:
    """`get` answers from the local copy; `follow` runs for ever and keeps it current."""

    def __init__(self, topic: str, path: Path, keep: Callable[[bytes], bytes]) -> None:
        """`keep` says what of a record's value is kept."""
        self._topic = TopicPartition(topic, 0)
        self._keep = keep
        self._lately: dict[bytes, bytes | None] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = rocksdict.Rdict(str(path), options())

    def get(self, key: bytes) -> bytes | None:
        """The value last seen for `key`, or None. What was asked for lately is answered from memory."""
        if key not in self._lately:
            if len(self._lately) >= REMEMBERED:
                self._lately.clear()
            self._lately[key] = self._rows.get(key)
        return self._lately[key]

    async def follow(self, settings: KafkaSettings) -> None:
        """Read on from where the copy stands; a chunk and its position are written together."""
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
        known = int(self._rows.get(POSITION) or 0)
        return known if first <= known <= end else first

    def _apply(self, records: list) -> None:  # type: ignore[type-arg]
        batch = rocksdict.WriteBatch(raw_mode=True)
        for record in records:
            if record.value is None:
                batch.delete(record.key)
            else:
                batch.put(record.key, self._keep(record.value))
            self._lately.pop(record.key, None)
        batch.put(POSITION, str(records[-1].offset + 1).encode())
        self._rows.write(batch)
