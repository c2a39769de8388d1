"""Store of state rows: one small RocksDB per partition, written in one atomic batch per chunk. URL scheme: `touchline://`.

The batch holds the changed rows and the changelog offset of the last one, so a local copy never claims more than it has.

Every stored row begins with its last applied offset: the offset, in the step's first topic, of the chunk that wrote it
(8 bytes, big-endian). Recovery keeps the row with the higher offset. A worker that was frozen and lost its partitions may
still write once when it continues; this write cannot replace a newer row.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rocksdict
from faust import stores
from faust.stores.rocksdb import Store as StockStore

from schemas.service import telemetry
from streams.contract import StateError

log = logging.getLogger(__name__)
SCHEME = "touchline"
OFFSET_BYTES = 8
SMALL_OFFSET = b"\0\0"  # first bytes of each real last applied offset; most junk begins with others
WRITE_BUFFER_BYTES = 16 << 20
BLOCK_CACHE_BYTES = 32 << 20


def rocksdb_options() -> rocksdict.Options:
    """Return RocksDB options with small buffers. The default of Faust is a block cache of 2 GiB per partition."""
    chosen = rocksdict.Options(raw_mode=True)
    chosen.create_if_missing(True)
    chosen.set_write_buffer_size(WRITE_BUFFER_BYTES)
    chosen.set_max_write_buffer_number(2)
    chosen.set_compaction_style(rocksdict.DBCompactionStyle.universal())
    chosen.set_max_open_files(64)
    chosen.set_compression_type(rocksdict.DBCompressionType.none())
    chosen.set_allow_mmap_reads(True)
    table = rocksdict.BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    chosen.set_block_based_table_factory(table)
    return chosen


def encode_stored_row(last_applied_offset: int, row: bytes) -> bytes:
    """Return a row as the store and the changelog keep it."""
    return last_applied_offset.to_bytes(OFFSET_BYTES, "big") + row


def decode_stored_row(value: bytes | None) -> tuple[int, bytes] | None:
    """Return last applied offset and row of a stored value, or None for a deleted or unknown row."""
    if value is None or len(value) <= OFFSET_BYTES:
        return None
    return int.from_bytes(value[:OFFSET_BYTES], "big"), value[OFFSET_BYTES:]


class Store(StockStore):
    """RocksDB store of Faust with own options, recovery in chunks, and one atomic write per chunk."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._recovered: dict[int, int] = {}

    def recovered_offset(self, partition: int) -> int:
        """Return the highest last applied offset of the rows that this process recovered, -1 if it recovered none."""
        return self._recovered.get(partition, -1)

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        path = self.partition_path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        return rocksdict.Rdict(str(path), rocksdb_options())

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Callable[..., Any], to_value: Callable[..., Any]) -> None:
        """Apply changelog records during recovery. Each event holds a chunk of one partition.

        Records that are no stored row, for example a tombstone, are counted and skipped. An error here would make the recovery
        wait for ever.
        """
        for event in batch:
            partition, chunk = event.message.partition, event.message.value
            records = [record for record in chunk if self._is_row(record.key, record.value)]
            keys = [record.key for record in records]
            newest: dict[bytes, bytes] = dict(zip(keys, self._db_for_partition(partition).get(keys), strict=True)) if keys else {}
            for record in records:
                if record.value[:OFFSET_BYTES] >= (newest[record.key] or b"")[:OFFSET_BYTES]:
                    newest[record.key] = record.value
            self.write(partition, newest.items(), event.message.offset)
            applied = [int.from_bytes(record.value[:OFFSET_BYTES], "big") for record in records]
            self._recovered[partition] = max([self.recovered_offset(partition), *applied])
            if len(records) < len(chunk):
                self._report_skipped(event.message, len(chunk) - len(records))

    def _is_row(self, key: bytes | None, value: bytes | None) -> bool:
        """Return whether a changelog record can be a stored row."""
        is_readable = value is not None and len(value) >= OFFSET_BYTES and value.startswith(SMALL_OFFSET)
        return is_readable and key is not None and key != self.offset_key

    def _report_skipped(self, message: Any, count: int) -> None:
        telemetry.SKIPPED.labels(message.topic).inc(count)
        log.error(
            "recovery skipped %d records of %s/%d up to offset %d that are no state rows",
            *(count, message.topic, message.partition, message.offset),
        )

    def write(self, partition: int, rows: Iterable[tuple[bytes, bytes]], changelog_offset: int) -> None:
        """Write stored rows and the changelog offset of the last one, all or nothing."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            batch.put(key, value)
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._db_for_partition(partition).write(batch)

    def is_next(self, partition: int, changelog_offset: int) -> bool:
        """Return whether `changelog_offset` directly follows this copy, which means that no other worker wrote since."""
        held = self._db_for_partition(partition).get(self.offset_key)
        return changelog_offset == (0 if held is None else int(held) + 1)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        """Return last applied offset and row of each key, or None. Raises StateError when the disk fails."""
        try:
            found = self._db_for_partition(partition).get(keys) if keys else []
        except Exception as error:  # rocksdict has no class of its own for errors of the disk
            raise StateError(
                f"cannot read the state of partition {partition} ({type(error).__name__}): check the disk"
            ) from error
        return [decode_stored_row(value) for value in found]

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows of a partition in key order, without their last applied offsets."""
        for key, value in self._db_for_partition(partition).items():
            stored = None if key == self.offset_key else decode_stored_row(value)
            if stored is not None:
                yield key, stored[1]

    async def stop(self) -> None:
        """Close all databases by dropping the last reference to each, which is how rocksdict closes them."""
        self._dbs.clear()
        gc.collect()


stores.STORES.aliases[SCHEME] = f"{__name__}:Store"
