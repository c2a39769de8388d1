"""Local copy of a compacted topic: newest values, unreadable records, expiry, progress."""

import asyncio
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from schemas.service import telemetry
from schemas.service.connection import KafkaSettings
from streams.engine.replica import EXPIRED_AT, EXPIRY_SECONDS, POSITION, Replica

TOPIC = "touchline.identity"
DAY = EXPIRY_SECONDS * 1000


def record(key: bytes | None, value: bytes | None, offset: int = 0) -> Any:
    return SimpleNamespace(key=key, value=value, offset=offset)


def test_replica_returns_the_newest_value_also_from_its_cache(tmp_path: Path) -> None:
    copy = Replica("touchline.identity", tmp_path / "copy", lambda value: value[1:])
    assert copy.get(b"k") is None
    for number, value in enumerate((b"-old", b"-new", None)):
        copy._apply([SimpleNamespace(key=b"k", value=value, offset=number)], 0)
        assert copy.get(b"k") == (value[1:] if value else None)
        assert copy.get(b"k") == copy._rows.get(b"k")


def test_replica_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.replica.MAX_CACHED_KEYS", 10)
    copy = Replica("touchline.identity", tmp_path / "copy", bytes)
    for number in range(95):
        copy.get(b"%d" % number)
    assert len(copy._cache) <= 10


def read_number(value: bytes) -> bytes | None:
    """Return the row of these tests: a number of days. A value of 0 is not kept, and junk raises an error."""
    return value if int(value) else None


def is_old(row: bytes, now: int) -> bool:
    """Return whether a row's day is before `now`."""
    return int(row) * DAY < now


def skipped() -> float:
    return float(telemetry.SKIPPED.labels(TOPIC)._value.get())


def test_unreadable_records_are_counted_and_skipped_and_their_rows_stay(tmp_path: Path) -> None:
    copy = Replica(TOPIC, tmp_path / "copy", read_number)
    before = skipped()
    copy._apply([record(b"a", b"7"), record(b"b", b"8")], 0)
    junk = [record(b"a", b"junk", 2), record(None, b"7", 3), record(POSITION, b"999", 4), record(b"b", b"", 5)]
    copy._apply([*junk, record(b"c", b"9", 6)], 0)
    assert [copy.get(key) for key in (b"a", b"b", b"c")] == [b"7", b"8", b"9"]
    assert copy._rows.get(POSITION) == b"7"
    assert skipped() - before == 4


def test_record_without_a_row_removes_the_row_of_its_key(tmp_path: Path) -> None:
    copy = Replica(TOPIC, tmp_path / "copy", read_number)
    copy._apply([record(b"a", b"7")], 0)
    assert copy.get(b"a") == b"7"
    copy._apply([record(b"a", b"0", 1)], 0)
    assert copy.get(b"a") is None


def test_final_row_is_replaced_by_final_rows_only_and_after_a_restart(tmp_path: Path) -> None:
    def open_copy() -> Replica:
        return Replica(TOPIC, tmp_path / "copy", read_number, is_final=lambda row: row.endswith(b"9"))

    copy = open_copy()
    copy._apply([record(b"a", b"9"), record(b"a", b"7"), record(b"b", b"7"), record(b"a", None)], 0)
    assert (copy.get(b"a"), copy.get(b"b")) == (b"9", b"7")
    del copy
    gc.collect()  # closes the database
    copy = open_copy()
    copy._apply([record(b"a", b"7"), record(b"b", b"8")], 0)
    assert (copy.get(b"a"), copy.get(b"b")) == (b"9", b"8")
    copy._apply([record(b"a", b"29")], 0)
    assert copy.get(b"a") == b"29"


def test_expired_rows_are_not_loaded_and_are_dropped_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.replica.EXPIRY_ROWS", 2)
    copy = Replica(TOPIC, tmp_path / "copy", read_number, is_old)
    copy._apply([record(b"%d" % day, b"%d" % day, day) for day in range(1, 8)], 3 * DAY)
    assert [day for day in range(1, 8) if copy.get(b"%d" % day)] == [3, 4, 5, 6, 7]
    copy._apply([record(b"7", b"2", 8)], 3 * DAY)
    assert copy.get(b"7") is None
    asyncio.run(copy.drop_expired(5 * DAY))
    assert [day for day in range(1, 8) if copy.get(b"%d" % day)] == [5, 6]
    assert copy._rows.get(POSITION) == b"9"
    assert copy._rows.get(EXPIRED_AT) == b"%d" % (5 * DAY)


def test_expiry_keeps_a_row_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.replica.EXPIRY_ROWS", 1)
    copy = Replica(TOPIC, tmp_path / "copy", read_number, is_old)
    copy._apply([record(b"a", b"1"), record(b"b", b"1", 1)], 0)

    async def drop() -> None:
        dropping = asyncio.create_task(copy.drop_expired(5 * DAY))
        await asyncio.sleep(0)
        copy._apply([record(b"b", b"9", 2)], 0)
        await dropping

    asyncio.run(drop())
    assert [copy.get(b"a"), copy.get(b"b")] == [None, b"9"]


class Log:
    """Consumer of a topic with one record per offset, as far as the copy uses it. It ends the copy at the end of the log."""

    def __init__(self, values: list[bytes], copy: Replica, first: int = 0) -> None:
        self.values, self.first, self.copy = values, first, copy
        self.at = 0
        self.read_from: list[int] = []
        self.progress: list[tuple[int, int]] = []

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at = offset
        self.read_from.append(offset)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.first)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, len(self.values))

    async def position(self, partition: TopicPartition) -> int:
        return self.at

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.progress.append((self.copy.progress(), self.copy.remaining()))
        if self.at == len(self.values):
            raise EOFError
        records = [record(b"%d" % at, self.values[at], at) for at in range(self.at, min(self.at + 4, len(self.values)))]
        self.at += len(records)
        return {TopicPartition(TOPIC, 0): records}


def follow(copy: Replica, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.replica.AIOKafkaConsumer", lambda **_: log)
    with pytest.raises(EOFError):
        asyncio.run(copy.follow(KafkaSettings(bootstrap_servers="127.0.0.1:1")))


def test_copy_is_loaded_at_the_end_that_the_topic_had_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Replica(TOPIC, tmp_path / "copy", read_number)
    assert (copy.is_loaded, copy.progress(), copy.remaining(), copy.name) == (False, 0, 0, "identity copy")
    log = Log([b"7"] * 10, copy)
    follow(copy, log, monkeypatch)
    assert log.progress == [(0, 10), (40, 6), (80, 2), (100, 0)]
    assert copy.is_loaded
    longer = Log([b"7"] * 13, copy)
    follow(copy, longer, monkeypatch)
    assert longer.read_from == [10]
    assert longer.progress[0] == (76, 3)


def test_copy_of_an_empty_topic_is_loaded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Replica(TOPIC, tmp_path / "copy", read_number)
    follow(copy, Log([], copy), monkeypatch)
    assert (copy.is_loaded, copy.progress()) == (True, 100)


def test_rows_expire_at_the_first_end_and_then_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100 * DAY]
    monkeypatch.setattr("streams.engine.replica._now", lambda: now[0])
    copy = Replica(TOPIC, tmp_path / "copy", read_number, is_old)
    follow(copy, Log([b"101"] * 3, copy), monkeypatch)
    assert copy.get(b"0") == b"101"
    now[0] += 2 * DAY - 1
    follow(copy, Log([b"101"] * 4, copy), monkeypatch)
    assert [copy.get(b"0"), copy.get(b"3")] == [None, None]
    assert copy._rows.get(EXPIRED_AT) == b"%d" % now[0]
