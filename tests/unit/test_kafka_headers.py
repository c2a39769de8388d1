"""Records with header names that are not UTF-8, read by the decoders of aiokafka and kafka-python."""

import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from kafka.record.memory_records import MemoryRecords

from schemas.service.header_names import tolerate_invalid_header_names_in_kafka_python
from schemas.service.kafka_headers import FetchedRecords, TolerantPartitionRecords

HEADER = b"some-header"
COMPRESSIONS = pytest.mark.parametrize("compression", [0, 1, 2, 3])  # none, gzip, snappy, lz4


def make_batch(first: int, names: list[bytes], compression: int = 0) -> bytes:
    """Return one batch. Each record has one header; its name is replaced by one of the same length."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for number in range(len(names)):
        builder.append(
            number, timestamp=1, key=b"k%d" % (first + number), value=b"v" * 100, headers=[(HEADER.decode(), b"x%d" % number)]
        )
    plain = bytearray(builder.build())
    at = 0
    for name in names:
        at = plain.index(HEADER, at)
        plain[at : at + len(HEADER)] = name.ljust(len(HEADER), b".")
        at += 1
    body = plain[61:]
    if compression:
        body = bytearray(COMPRESS[compression](bytes(body)))
    made = plain[:61] + body
    struct.pack_into(">q", made, 0, first)
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">h", made, 21, compression)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def _codecs() -> dict[int, Any]:
    from aiokafka import codec

    return {1: codec.gzip_encode, 2: codec.snappy_encode, 3: codec.lz4_encode}


COMPRESS = _codecs()


def read(raw: bytes, offset: int = 0) -> list[Any]:
    records = TolerantPartitionRecords(TopicPartition("t", 0), FetchedRecords(raw), [], offset, None, None, True, 0)
    return list(records)


@COMPRESSIONS
def test_records_around_an_invalid_header_name_are_read_once_and_in_order(compression: int) -> None:
    raw = make_batch(0, [b"a", b"b"]) + make_batch(2, [b"c", b"\xff\xfe", b"d"], compression) + make_batch(5, [b"e", b"\xff"])
    records = read(raw)
    assert [each.offset for each in records] == list(range(7))
    assert [each.key for each in records] == [b"k%d" % number for number in range(7)]
    assert {len(each.value) for each in records} == {100}
    names = [name.rstrip(".") for each in records for name, _ in each.headers]
    assert names == ["a", "b", "c", "\\xff\\xfe", "d", "e", "\\xff"]
    assert [value for each in records for _, value in each.headers] == [b"x0", b"x1", b"x0", b"x1", b"x2", b"x0", b"x1"]


def test_reading_begins_at_the_fetched_offset(caplog: pytest.LogCaptureFixture) -> None:
    raw = make_batch(10, [b"a", b"\xff", b"b", b"c"])
    assert [each.offset for each in read(raw, 12)] == [12, 13]
    assert "header names that are not UTF-8" in caplog.text


def test_cut_batch_at_the_end_of_a_fetch_is_left_for_the_next_one() -> None:
    raw = make_batch(0, [b"\xff", b"a"]) + make_batch(2, [b"b"])[:-3]
    records = TolerantPartitionRecords(TopicPartition("t", 0), FetchedRecords(raw), [], 0, None, None, True, 0)
    assert [each.offset for each in records] == [0, 1]
    assert records.next_fetch_offset == 2


def test_valid_records_use_the_compiled_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FetchedRecords, "be_lenient", None)
    assert [each.offset for each in read(make_batch(0, [b"a", b"b"]))] == [0, 1]


@COMPRESSIONS
def test_kafka_python_reads_each_record_once_and_in_order(compression: int) -> None:
    tolerate_invalid_header_names_in_kafka_python()
    batches = MemoryRecords(make_batch(2, [b"c", b"\xff\xfe", b"d"], compression) + make_batch(5, [b"e", b"\xff"]))
    records: list[Any] = []
    while batches.has_next():
        records += batches.next_batch()
    assert [(each.offset, each.key, len(each.value)) for each in records] == [(n, b"k%d" % n, 100) for n in range(2, 7)]
    assert {type(each.value) for each in records} == {bytes}
    names = [name.rstrip(".") for each in records for name, _ in each.headers]
    assert names == ["c", "\\xff\\xfe", "d", "e", "\\xff"]
