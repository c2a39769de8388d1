"""Check of the identity secret against the first fingerprint on `touchline.identity`, on an in-memory log."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from schemas.errors import ConfigError, RetryableError
from schemas.service.connection import KafkaSettings
from schemas.service.secret import SECRET, SECRET_FILE
from schemas.wire.codec import encode
from streams.contract import Output
from streams.engine import fingerprint
from streams.engine.fingerprint import MAP, check_fingerprint, require_fingerprint
from streams.steps.identity import read_copy_row

KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:1")
MEMBER = (b"n" + bytes(16), b"junk")
Log = list[tuple[bytes | None, bytes | None]]


def record(own: str) -> tuple[bytes, bytes]:
    return b"f" + own.encode(), encode("fingerprint", {"fingerprint": own})


class Consumer:
    """Consumer of a log, two records at a time, as far as the check uses it."""

    def __init__(self, log: Log, hidden: int = 0) -> None:
        self.log, self.at, self.hidden = log, 0, hidden

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def assign(self, partitions: list[Any]) -> None: ...

    def seek(self, partition: Any, offset: int) -> None:
        self.at = offset

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return {MAP: 0}

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return {MAP: len(self.log) - self.hidden}

    async def position(self, partition: Any) -> int:
        return self.at

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        records = [SimpleNamespace(key=key, value=value) for key, value in self.log[self.at : self.at + 2]]
        self.at += len(records)
        return {MAP: records} if records else {}


class Producer:
    """Producer that appends to a log. Another worker is faster by the records of `others`."""

    def __init__(self, log: Log, others: Log) -> None:
        self.log, self.others = log, others

    async def publish(self, outputs: list[Output]) -> int:
        self.log += [*self.others, *((each.key, each.value) for each in outputs)]
        return len(outputs)

    async def close(self) -> None: ...


def check(monkeypatch: pytest.MonkeyPatch, log: Log, own: str, others: Log | None = None, hidden: int = 0) -> Log:
    """Check `own` against the log and return the log."""

    async def open_producer(settings: KafkaSettings) -> Producer:
        return Producer(log, others or [])

    monkeypatch.setattr(fingerprint, "AIOKafkaConsumer", lambda **_: Consumer(log, hidden))
    monkeypatch.setattr("streams.engine.producer.Producer.open", open_producer)
    asyncio.run(check_fingerprint(KAFKA, own))
    return log


def test_first_worker_publishes_and_the_next_one_only_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    log = check(monkeypatch, [MEMBER], "0000aaaa")
    assert log == [MEMBER, record("0000aaaa")]
    assert check(monkeypatch, list(log), "0000aaaa") == log


def test_worker_with_another_secret_ends_and_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log: Log = [MEMBER, MEMBER, record("0000aaaa"), MEMBER]
    with pytest.raises(ConfigError, match=f"^{SECRET} or {SECRET_FILE}: .*0000bbbb.*0000aaaa") as raised:
        check(monkeypatch, log, "0000bbbb")
    assert raised.value.exit_code == 2
    assert len(log) == 4


def test_first_fingerprint_counts_for_workers_that_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log: Log = []
    with pytest.raises(ConfigError):
        check(monkeypatch, log, "0000bbbb", others=[record("0000aaaa")])
    assert log == [record("0000aaaa"), record("0000bbbb")]
    check(monkeypatch, log, "0000aaaa")
    assert len({key for key, _ in log}) == 2, "compaction would remove the fingerprint that counts"
    with pytest.raises(ConfigError):
        check(monkeypatch, log, "0000bbbb")


def test_fingerprint_that_is_not_visible_yet_is_no_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RetryableError):
        check(monkeypatch, [], "0000aaaa", hidden=1)


def test_other_records_and_junk_are_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = encode("tick", {"at": 1, "since": None})
    log: Log = [(None, None), (b"f", b"junk"), (b"f0000aaaa", None), (b"f", tick), (b"n", record("0000aaaa")[1])]
    assert check(monkeypatch, log, "0000bbbb")[-1] == record("0000bbbb")


def test_kafka_that_is_away_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise KafkaConnectionError

    monkeypatch.setattr(fingerprint, "AIOKafkaConsumer", lambda **_: SimpleNamespace(start=fail, stop=fail))
    for check_secret in (check_fingerprint, require_fingerprint):
        with pytest.raises(RetryableError):
            asyncio.run(check_secret(KAFKA, "0000aaaa"))


def test_program_that_is_no_worker_publishes_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    log: Log = [MEMBER]
    monkeypatch.setattr(fingerprint, "AIOKafkaConsumer", lambda **_: Consumer(log))
    with pytest.raises(RetryableError, match="touchline work"):
        asyncio.run(require_fingerprint(KAFKA, "0000aaaa"))
    assert log == [MEMBER]
    log.append(record("0000aaaa"))
    asyncio.run(require_fingerprint(KAFKA, "0000aaaa"))
    with pytest.raises(ConfigError, match=r"0000bbbb.*0000aaaa"):
        asyncio.run(require_fingerprint(KAFKA, "0000bbbb"))


def test_copy_of_the_identity_map_keeps_no_fingerprint() -> None:
    assert read_copy_row(record("0000aaaa")[1]) is None
