"""Reads Kafka records whose header names are not UTF-8. Brokers accept them, and aiokafka cannot read a partition past one.

aiokafka decodes header names strictly, and its decoder is compiled. After such an error, the rest of the fetched batches is
decoded by aiokafka's decoder in Python, with a buffer that replaces the invalid bytes.
"""

import logging
import struct
from collections.abc import Iterator
from typing import Any, cast

import aiokafka.consumer.fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from schemas.service.header_names import LenientBytes

log = logging.getLogger(__name__)
LENGTH = struct.Struct(">8xi")  # length of the rest of a batch, after its base offset
OFFSETS = struct.Struct(">q15xi")  # base offset, and the difference to the last offset


class FetchedRecords:
    """Batches of one fetch with their bytes. `next_batch` is strict until `be_lenient`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._strict = MemoryRecords(raw)
        self._position: int | None = None

    def size_in_bytes(self) -> int:
        """Return the size of all batches."""
        return len(self._raw)

    def be_lenient(self, offset: int) -> None:
        """Continue at the batch that contains `offset`, and accept invalid header names."""
        self._position = 0
        while self._last_offset() < offset:
            self._position = self._end()

    def has_next(self) -> bool:
        """Return whether a whole batch is left."""
        return self._strict.has_next() if self._position is None else self._end() is not None

    def next_batch(self) -> Any:
        """Return the next batch."""
        if self._position is None:
            return self._strict.next_batch()
        batch = _DefaultRecordBatchPy(memoryview(self._raw)[self._position : self._end()])
        self._position = self._end()
        return LenientBatch(batch)

    def _last_offset(self) -> int:
        base, difference = OFFSETS.unpack_from(self._raw, cast("int", self._position))
        return int(base + difference)

    def _end(self) -> int | None:
        begin = cast("int", self._position)
        if len(self._raw) < begin + LENGTH.size:
            return None
        end: int = begin + LENGTH.size + LENGTH.unpack_from(self._raw, begin)[0]
        return end if end <= len(self._raw) else None


class LenientBatch:
    """Batch of aiokafka's decoder in Python, which accepts invalid header names."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        self._batch._maybe_uncompress()  # noqa: SLF001 - aiokafka has no other place for another buffer
        self._batch._buffer = LenientBytes(self._batch._buffer)  # noqa: SLF001
        return iter(self._batch)


class TolerantPartitionRecords(PartitionRecords):  # type: ignore[misc] # aiokafka's fetcher has no types
    """Records of one partition in one fetch; the offset of the next record survives a decoding error."""

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            log.warning("%s/%d has header names that are not UTF-8 after offset %d", *self._tp, self.next_fetch_offset - 1)
            self._records.be_lenient(self.next_fetch_offset)
            yield from super()._unpack_records()


def tolerate_invalid_header_names() -> None:
    """Let all aiokafka consumers of this process read records whose header names are not UTF-8."""
    aiokafka_fetcher.MemoryRecords = FetchedRecords
    aiokafka_fetcher.PartitionRecords = TolerantPartitionRecords
