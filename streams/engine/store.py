"""Where state rows live: one small RocksDB per partition, written in one atomic batch per chunk; URL scheme `touchline://`.

The batch holds the changed rows and the changelog offset they reach, so a local copy never claims more than it has.

Every stored row begins with its fence: the offset, in the step's first topic, of the chunk that wrote it (8 bytes,
big-endian). Recovery keeps the row with the higher fence: a worker that was frozen, lost its partitions and writes once
more when it wakes up cannot take a row back.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rocksdict
from faust import stores
from faust.stores.rocksdb import Store as StockStore

SCHEME = "touchline"
FENCE_BYTES = 8
WRITE_BUFFER = 16 << 20
BLOCK_CACHE = 32 << 20


def options() -> rocksdict.Options:
    """Small, explicit options: Faust's default is a block cache of 2 GiB for each partition."""
    chosen = rocksdict.Options(raw_mode=True)
    chosen.create_if_missing(True)
    chosen.set_write_buffer_size(WRITE_BUFFER)
    chosen.set_max_write_buffer_number(2)
    chosen.set_compaction_style(rocksdict.DBCompactionStyle.universal())
    chosen.set_max_open_files(64)
    chosen.set_compression_type(rocksdict.DBCompressionType.none())
    chosen.set_allow_mmap_reads(True)
    table = rocksdict.BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(rocksdict.Cache(BLOCK_CACHE))
    chosen.set_block_based_table_factory(table)
    return chosen


def fenced(fence: int, row: bytes) -> bytes:
    """A row as it is stored and as the changelog keeps it."""
    return fence.to_bytes(FENCE_BYTES, "big") + row


def unfenced(value: bytes | None) -> tuple[int, bytes] | None:
    """Fence and row of a stored value; None for a row that was dropped or never was."""
    if value is None or len(value) <= FENCE_BYTES:
        return None
    return int.from_bytes(value[:FENCE_BYTES], "big"), value[FENCE_BYTES:]


class Store(StockStore):
    """Faust's RocksDB store with our options, batches of chunks in recovery, and a batch write for the stage."""

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        path = self.partition_path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        return rocksdict.Rdict(str(path), options())

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Callable[..., Any], to_value: Callable[..., Any]) -> None:
        """Recovery: each event holds a chunk of changelog records of one partition."""
        for event in batch:
            partition, records = event.message.partition, event.message.value
            keys = [record.key for record in records]
            newest: dict[bytes, bytes] = dict(zip(keys, self._db_for_partition(partition).get(keys), strict=True))
            for record in records:
                if record.value[:FENCE_BYTES] >= (newest[record.key] or b"")[:FENCE_BYTES]:
                    newest[record.key] = record.value
            self.write(partition, newest.items(), event.message.offset)

    def write(self, partition: int, rows: Iterable[tuple[bytes, bytes]], changelog_offset: int) -> None:
        """Apply fenced rows and the changelog offset they reach, all or nothing."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            batch.put(key, value)
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._db_for_partition(partition).write(batch)

    def follows(self, partition: int, changelog_offset: int) -> bool:
        """Whether `changelog_offset` is the next one after what this copy holds: nobody else wrote in between."""
        held = self._db_for_partition(partition).get(self.offset_key)
        return changelog_offset == (0 if held is None else int(held) + 1)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        """Fence and row of each key, or None."""
        return [unfenced(value) for value in self._db_for_partition(partition).get(keys)] if keys else []

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a partition in key order, without their fences."""
        for key, value in self._db_for_partition(partition).items():
            found = None if key == self.offset_key else unfenced(value)
            if found is not None:
                yield key, found[1]

    async def stop(self) -> None:
        """Close by letting go: rocksdict closes a database with its last reference."""
        self._dbs.clear()
        gc.collect()


stores.STORES.aliases[SCHEME] = f"{__name__}:Store"
