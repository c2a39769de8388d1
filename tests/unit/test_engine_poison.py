"""Records that no stage can process: each becomes a dead letter or a counted skip, and ends a worker at most once."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rocksdict
from aiokafka.errors import MessageSizeTooLargeError

from schemas.errors import FatalError, RecordError
from schemas.records.dead_letter import MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, make_dead_letter
from schemas.service import telemetry
from schemas.service.exit_codes import FATAL
from schemas.wire.codec import decode, encode, encode_model
from schemas.wire.topics import CUSTOMER_STATE, DEAD_LETTERS, RESOLVED, TICKS
from streams.contract import Output, Record, Refuse, Rows, StateError
from streams.engine.crashes import FILE, MAX_RANGES, ChunkRange, CrashLog
from streams.engine.limits import DEFAULT_TOPIC_BYTES, TOPIC_BYTES, describe_excess
from streams.engine.stage import Stage
from streams.engine.store import OFFSET_BYTES, Store, encode_stored_row, rocksdb_options

TOPIC = "touchline.erp"


def record(kind: str, offset: int) -> Any:
    fields = {"kind": kind, "value": "v", "customer_id": b"c" * 16, "rule": "r", "event_id": b"e" * 16, "at": 1}
    return SimpleNamespace(
        key=b"k", value=encode("edge", fields), topic=TOPIC, partition=3, offset=offset, timestamp=0, headers=()
    )


def chunk(*kinds: str) -> list[Any]:
    return [record(kind, offset) for offset, kind in enumerate(kinds)]


class Step:
    """Step that writes one row and one output per record, as its kind asks: a size, or the name of an error to raise."""

    name, topics, table, changelog = "step", (TOPIC,), "rows", CUSTOMER_STATE
    row_group_prefix_bytes = 4
    max_row_bytes = 1_000

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.processed: list[list[int]] = []

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        self.processed.append([each.offset for each in records])
        outputs = []
        for each in records:
            kind = str(each.fields["kind"])
            if kind in self.errors:
                raise self.errors[kind]
            name, _, size = kind.partition(" ")
            value = b"x" * int(size or 1)
            if name == "output":
                outputs.append(Output("out", 0, b"%d" % each.offset, value))
            elif name == "row":
                rows.put(b"key%d" % each.offset, value, bytes)
            elif name == "unwritable":
                rows.put(b"key%d" % each.offset, value, _fail_to_encode)
        return outputs


def _fail_to_encode(_row: Any) -> bytes:
    raise OverflowError("an integer that does not fit")


class Effects:
    """Producer and store of a stage. `refuse` names errors that a publish of an output raises."""

    def __init__(self, refuse: Callable[[bytes], Exception | None] = lambda _: None) -> None:
        self.outputs: list[bytes] = []
        self.dead_letters: list[tuple[int, str]] = []
        self.rows: dict[bytes, bytes] = {}
        self.refuse = refuse

    async def publish(self, outputs: list[Output]) -> int:
        for each in outputs:
            if each.topic == DEAD_LETTERS:
                fields = decode(each.value)[1]
                self.dead_letters.append((fields["offset"], fields["reason"]))
            elif error := self.refuse(each.key):
                raise error
            else:
                self.outputs.append(each.key)
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[tuple[bytes, bytes]], prefix: int) -> tuple[int, int]:
        return 0, len(rows) - 1

    def recovered_offset(self, partition: int) -> int:
        return -1

    def is_next(self, partition: int, offset: int) -> bool:
        return True

    def write(self, partition: int, rows: list[tuple[bytes, bytes]], offset: int) -> None:
        self.rows.update((key, value[OFFSET_BYTES:]) for key, value in rows)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        return [None] * len(keys)

    def scan(self, partition: int) -> Any:
        return iter(())


def make_stage(step: Step, effects: Effects, crashes: CrashLog | None = None) -> Any:
    store: Any = lambda: effects  # noqa: E731 - the fake is store and producer
    return Stage(step, store, store, crashes)  # type: ignore[arg-type]


def process(step: Step, effects: Effects, *kinds: str) -> None:
    asyncio.run(make_stage(step, effects).process_chunk(chunk(*kinds), 3))


def isolate(step: Step, effects: Effects, *kinds: str) -> None:
    asyncio.run(make_stage(step, effects).process_isolated(chunk(*kinds), 3))


def test_output_over_the_limit_of_its_topic_becomes_a_dead_letter_and_neighbours_continue() -> None:
    effects = Effects()
    process(Step(), effects, "output 5", f"output {DEFAULT_TOPIC_BYTES}", f"output {DEFAULT_TOPIC_BYTES - 1}")
    assert effects.outputs == [b"0", b"2"]
    assert effects.dead_letters == [(1, "too_large")]


def test_state_row_over_the_limit_of_its_step_becomes_a_dead_letter_and_neighbours_continue() -> None:
    effects = Effects()
    process(Step(), effects, "row 1000", "row 1001", "output")
    assert list(effects.rows) == [b"key0"]
    assert effects.outputs == [b"2"]
    assert effects.dead_letters == [(1, "too_large")]


def test_rows_of_one_group_over_the_limit_of_the_changelog_become_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record fits alone. Their rows share a batch, because the first bytes of their keys agree."""
    monkeypatch.setattr("streams.engine.limits.TOPIC_BYTES", {CUSTOMER_STATE: 1_000})
    grouped = Step()
    grouped.row_group_prefix_bytes = 3
    effects = Effects()
    process(grouped, effects, "row 600", "row 600", "row 100")
    assert list(effects.rows) == [b"key0", b"key2"]
    assert effects.dead_letters == [(1, "too_large")]
    alone = Effects()
    process(Step(), alone, "row 600", "row 600", "row 100")
    assert list(alone.rows) == [b"key0", b"key1", b"key2"]


def test_limits_follow_the_table_of_topics() -> None:
    step: Any = Step()
    for topic in (RESOLVED, TICKS):
        at_limit = Output(topic, 0, b"", b"x" * TOPIC_BYTES[topic])
        assert describe_excess(step, [at_limit], []) == ""
        assert topic in describe_excess(step, [at_limit._replace(key=b"k")], [])


def test_largest_dead_letter_fits_into_a_batch() -> None:
    texts = dict.fromkeys(("stage", "source", "connector", "origin"), "\u20ac" * 5_000_000)
    letter = make_dead_letter(RecordError("r", texts["source"]), b"x" * (MAX_PAYLOAD_BYTES + 1), **(texts | {"stage": "s"}))
    full = letter.model_copy(update={"key": b"k" * MAX_KEY_BYTES, "topic": "t" * 249})
    output = Output(DEAD_LETTERS, 0, letter.letter_id.bytes, encode_model("dead_letter", full))
    step: Any = Step()
    assert letter.truncated
    assert describe_excess(step, [output], []) == ""


def test_no_topic_has_less_than_the_default_limit() -> None:
    """`describe_excess` looks no further while the largest output is within the default limit."""
    assert min(TOPIC_BYTES.values()) == DEFAULT_TOPIC_BYTES


def test_row_that_cannot_be_encoded_becomes_a_dead_letter() -> None:
    effects = Effects()
    process(Step(), effects, "row", "unwritable", "output")
    assert list(effects.rows) == [b"key0"]
    assert effects.dead_letters == [(1, "unprocessable")]


def test_largest_state_row_is_measured() -> None:
    process(Step(), Effects(), "row 70", "row 20")
    assert telemetry.STATE_ROW.labels("step")._value.get() == 70


def test_isolation_finds_the_records_that_fail_and_keeps_all_others() -> None:
    step, effects = Step(bad=RuntimeError("a defect")), Effects()
    isolate(step, effects, *["output"] * 20, "bad", *["output"] * 30, "bad", "output")
    assert effects.dead_letters == [(20, "crash"), (51, "crash")]
    assert effects.outputs == [b"%d" % offset for offset in range(53) if offset not in (20, 51)]
    assert len(step.processed) < 30


def test_isolation_of_a_good_chunk_processes_it_once() -> None:
    step, effects = Step(), Effects()
    isolate(step, effects, "output", "row", "output")
    assert step.processed == [[0, 1, 2]]
    assert effects.dead_letters == []


def test_output_that_kafka_refuses_by_size_becomes_a_dead_letter_in_isolation() -> None:
    effects = Effects(lambda key: MessageSizeTooLargeError() if key == b"1" else None)
    isolate(Step(), effects, "output", "output", "output")
    assert effects.dead_letters == [(1, "too_large")]
    assert set(effects.outputs) == {b"0", b"2"}


def test_failing_kafka_makes_no_dead_letter_in_isolation() -> None:
    effects = Effects(lambda _: ConnectionError("Kafka is away"))
    with pytest.raises(ConnectionError):
        isolate(Step(), effects, "output", "output")
    assert effects.dead_letters == []


def test_failing_disk_or_newer_state_makes_no_dead_letter_in_isolation() -> None:
    effects = Effects()
    with pytest.raises(StateError):
        isolate(Step(bad=StateError("newer")), effects, "output", "bad")
    assert effects.dead_letters == []


class Crash(BaseException):
    """End of the process in these tests."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit codes of `os._exit`, which raises `Crash` here."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Crash

    monkeypatch.setattr(os, "_exit", end)
    return codes


def run_worker(step: Step, effects: Effects, folder: Path, *kinds: str, offset: int = 0) -> None:
    """Process one chunk as a new run of a worker with this folder."""
    records = [record(kind, number) for number, kind in enumerate(kinds, offset)]
    event: Any = SimpleNamespace(value=records, message=SimpleNamespace(partition=3, is_done=False), ack=lambda: None)
    stage = make_stage(step, effects, CrashLog(folder / FILE))
    try:
        asyncio.run(stage._process_after(None, event, asyncio.Semaphore(1)))
    except Crash:
        assert not event.message.is_done
    else:
        assert event.message.is_done


def test_later_copies_of_a_record_that_ended_a_worker_do_not_end_it_again(exits: list[int], tmp_path: Path) -> None:
    """A crash before the commit of an earlier step lets that step publish the record again, at another offset."""
    step, effects = Step(bad=RuntimeError("a defect"), other=RuntimeError("another defect")), Effects()
    for _ in range(2):
        run_worker(step, effects, tmp_path, "output", "bad")
    for _ in range(2):
        run_worker(step, effects, tmp_path, *["output"] * 9, "bad", "output", offset=100)
    assert exits == [FATAL]
    assert set(effects.dead_letters) == {(1, "crash"), (109, "crash")}
    run_worker(step, effects, tmp_path, "bad", "other", offset=200)
    assert exits == [FATAL, FATAL]
    run_worker(step, effects, tmp_path, "bad", "other", offset=200)
    assert exits == [FATAL, FATAL]


def test_copy_of_a_touchpoint_with_another_customer_is_known(tmp_path: Path) -> None:
    """A merge between a crash and the next start gives the copy another customer."""

    def resolve(customer: bytes, touchpoint: bytes) -> bytes:
        fields = {"customer_id": customer * 16, "stage": "", "seen": customer, "touchpoint": touchpoint, "identifiers": []}
        return encode("resolved", fields)

    CrashLog(tmp_path / FILE).remember(resolve(b"a", b"touchpoint"))
    log = CrashLog(tmp_path / FILE)
    assert log.knows(resolve(b"b", b"touchpoint"))
    assert not log.knows(resolve(b"a", b"another"))


@pytest.mark.parametrize("error", [RuntimeError("defect"), MemoryError(), RecursionError(), FatalError("cannot continue")])
def test_unknown_exception_of_a_record_ends_the_process_once(exits: list[int], tmp_path: Path, error: Exception) -> None:
    step, effects = Step(bad=error), Effects()
    for _ in range(3):
        run_worker(step, effects, tmp_path, "output", "bad", "output")
    assert exits == [FATAL]
    assert set(effects.dead_letters) == {(1, "crash")}
    assert set(effects.outputs) == {b"0", b"2"}


def test_good_chunks_write_no_file(exits: list[int], tmp_path: Path) -> None:
    run_worker(Step(), Effects(), tmp_path, "output", "row 1001", "output")
    assert list(tmp_path.iterdir()) == []


def test_crash_log_remembers_all_chunks_in_flight_and_those_of_earlier_crashes(tmp_path: Path) -> None:
    first = CrashLog(tmp_path / FILE)
    first.in_flight |= {ChunkRange("a", 0, 10, 19), ChunkRange("b", 1, 5, 5)}
    first.record()
    second = CrashLog(tmp_path / FILE)
    second.in_flight.add(ChunkRange("a", 0, 30, 39))
    second.record()
    third = CrashLog(tmp_path / FILE)
    covered = [ChunkRange("a", 0, 19, 25), ChunkRange("a", 0, 0, 10), ChunkRange("b", 1, 0, 9), ChunkRange("a", 0, 39, 50)]
    others = [ChunkRange("a", 0, 20, 29), ChunkRange("a", 1, 10, 19), ChunkRange("b", 1, 6, 9), ChunkRange("c", 0, 10, 19)]
    assert [third.covers(each) for each in covered] == [True] * 4
    assert [third.covers(each) for each in others] == [False] * 4


def test_crash_log_is_bounded_and_survives_damage(tmp_path: Path) -> None:
    crashes = CrashLog(tmp_path / FILE)
    crashes.in_flight |= {ChunkRange("a", 0, offset, offset) for offset in range(MAX_RANGES + 5)}
    crashes.record()
    kept = CrashLog(tmp_path / FILE)
    assert not kept.covers(ChunkRange("a", 0, 4, 4))
    assert kept.covers(ChunkRange("a", 0, 5, 5))
    for damage in ("", "[[1]]", "{}", '{"ranges": [["a", "x", 1, 2]], "digests": []}', '{"ranges": []}', "\x00\xff"):
        (tmp_path / FILE).write_text(damage)
        assert not CrashLog(tmp_path / FILE).covers(ChunkRange("a", 0, 5, 5))


def test_first_chunks_after_a_restart_are_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.crashes.MAX_LOGGED_CHUNKS", 2)
    caplog.set_level("INFO", logger="streams.engine.crashes")
    CrashLog().begin(ChunkRange("a", 0, 1, 4), "join")
    assert caplog.messages == []
    restarted = CrashLog(is_restarted=True)
    for first in (1, 5, 9):
        restarted.begin(ChunkRange("a", 0, first, first + 3), "join")
    assert caplog.messages == ["stage join begins a/0 offsets 1 to 4", "stage join begins a/0 offsets 5 to 8"]
    assert len(restarted.in_flight) == 3


def changelog(*rows: tuple[bytes | None, bytes | None]) -> Any:
    records = [SimpleNamespace(key=key, value=value) for key, value in rows]
    return SimpleNamespace(message=SimpleNamespace(topic=CUSTOMER_STATE, partition=2, offset=len(rows) - 1, value=records))


def test_recovery_skips_and_counts_tombstones_and_junk(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._recovered = {}
    store._dbs = {2: rocksdict.Rdict(str(tmp_path / "rows"), rocksdb_options())}
    before = telemetry.SKIPPED.labels(CUSTOMER_STATE)._value.get()
    good = encode_stored_row(7, b"row")
    rows: list[tuple[bytes | None, bytes | None]] = [
        (b"a", good),
        (b"a", None),
        (b"a", b"junk"),
        (b"a", b"junk of more than eight bytes"),
        (None, good),
        (store.offset_key, good),
        (b"b", good),
    ]
    store.apply_changelog_batch([changelog(*rows)], bytes, bytes)
    assert dict(store.scan(2)) == {b"a": b"row", b"b": b"row"}
    assert store.is_next(2, len(rows))
    assert telemetry.SKIPPED.labels(CUSTOMER_STATE)._value.get() - before == 5


def test_recovery_of_nothing_but_junk_reaches_its_end(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._recovered = {}
    store._dbs = {2: rocksdict.Rdict(str(tmp_path / "rows"), rocksdb_options())}
    store.apply_changelog_batch([changelog((b"a", None), (b"b", b""))], bytes, bytes)
    assert list(store.scan(2)) == []
    assert store.is_next(2, 2)


def test_error_of_the_disk_is_an_error_of_the_state() -> None:
    store = Store.__new__(Store)
    store._recovered = {}
    broken: Any = SimpleNamespace(get=_fail_to_read)
    store._dbs = {2: broken}
    with pytest.raises(StateError, match="partition 2"):
        store.load(2, [b"a"])


def _fail_to_read(_keys: list[bytes]) -> list[bytes]:
    raise Exception("IO error: input/output error")  # noqa: TRY002 - rocksdict raises this class
