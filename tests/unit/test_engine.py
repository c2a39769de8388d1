"""The engine's promises without a broker: what may be committed, how chunks are cut, in which order effects happen."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rocksdict
from faust.types.tuples import TP
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import FatalError
from schemas.records.dead_letter import Headers, replay_headers
from schemas.service import telemetry
from schemas.wire.codec import decode, encode
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output, Record, Refuse, Rows
from streams.engine.replica import Replica
from streams.engine.stage import MAX_CHUNKS_IN_FLIGHT, Stage
from streams.engine.store import OFFSET_BYTES, Store, encode_stored_row, options
from streams.engine.transport import Ledger, cut_chunks, order_by_timestamp


def record(value: bytes | None, offset: int = 0, headers: Headers = ()) -> Any:
    return SimpleNamespace(key=b"k", value=value, topic="touchline.erp", partition=3, offset=offset, headers=headers)


@given(st.lists(st.booleans(), max_size=30), st.randoms(use_true_random=False))
def test_a_commit_never_passes_a_chunk_that_is_not_done(fates: list[bool], chance: Any) -> None:
    ledger = Ledger()
    messages: list[Any] = [
        SimpleNamespace(offset=10 * index + 9, timestamp=float(index), done=False) for index in range(len(fates))
    ]
    for message in messages:
        ledger.add(message)
    order = [message for message, done in zip(messages, fates, strict=True) if done]
    chance.shuffle(order)
    committed = 0
    for message in order:
        message.done = True
        committed = ledger.committable_offset() or committed
        if chance.random() < 0.5:
            ledger.forget_committed(committed)
        undone = [each.offset for each in messages if not each.done]
        assert committed <= min(undone, default=10**9)
    expected = 0
    for message in messages:
        if not message.done:
            break
        expected = message.offset + 1
    assert committed == expected
    assert (ledger.committable_offset() or committed) == committed
    waiting = [message.timestamp for message in messages if not message.done]
    assert ledger.oldest_pending_timestamp() == min(waiting, default=None)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_chunks_keep_every_record_in_order_and_within_bounds(sizes: list[int], records: int, size: int) -> None:
    given_records = [record(b"x" * length, offset) for offset, length in enumerate(sizes)]
    cut = list(cut_chunks(given_records, records, size))
    assert [each for chunk in cut for each in chunk] == given_records
    assert all(len(chunk) <= records for chunk in cut)
    assert all(len(chunk) == 1 or sum(len(each.value) for each in chunk) <= size for chunk in cut)


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=5))
def test_what_came_first_is_taken_first_and_each_partition_keeps_its_order(queues: list[list[int]]) -> None:
    chunked = {TP("t", n): [[SimpleNamespace(timestamp=at)] for at in queue] for n, queue in enumerate(queues)}
    taken = list(order_by_timestamp(chunked))
    for tp, queue in chunked.items():
        assert [chunk for each, chunk in taken if each == tp] == queue
    if all(queue == sorted(queue) for queue in queues):
        times = [chunk[0].timestamp for _, chunk in taken]
        assert times == sorted(times)


class Effects:
    """Stands where the broker and the local store stand, and writes down what happens to them."""

    def __init__(self, failing: str = "") -> None:
        self.log: list[str] = []
        self.published: list[Output] = []
        self.rows: dict[bytes, bytes] = {}
        self.failing = failing
        self.first = 41

    def note(self, what: str) -> None:
        if what == self.failing:
            raise ConnectionError(what)
        self.log.append(what)

    async def publish(self, outputs: list[Output]) -> int:
        if outputs:
            self.note("dead letters" if outputs[0].topic == DEAD_LETTERS else "outputs")
        self.published += outputs
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[tuple[bytes, bytes]], prefix: int) -> tuple[int, int]:
        self.note("changelog")
        return self.first, self.first + len(rows) - 1

    def is_next(self, partition: int, offset: int) -> bool:
        return offset == 41

    def write(self, partition: int, rows: list[tuple[bytes, bytes]], offset: int) -> None:
        self.note("store")
        self.rows.update((key, value[OFFSET_BYTES:]) for key, value in rows)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        return [(-1, self.rows[key]) if key in self.rows else None for key in keys]

    def scan(self, partition: int) -> Any:
        return iter(self.rows.items())


class Count:
    """Counts ticks in one row; a tick at 13 fails, as a step with a bug would."""

    name = "count"
    topics = ("touchline.erp",)
    table = "counts"
    changelog = "counts-changelog"
    row_group_prefix_bytes = 0

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs = []
        for each in records:
            if each.fields["kind"] == "13":
                raise ValueError("a bug")
            count = rows.get(b"n", lambda value: int(value or b"0")) + 1
            rows.put(b"n", count, lambda value: str(value).encode())
            outputs.append(Output("out", 0, b"k", str(count).encode()))
        return outputs


def edge(kind: str) -> bytes:
    return encode("edge", {"kind": kind, "value": "v", "customer_id": b"c" * 16, "rule": "r", "event_id": b"e" * 16, "at": 1})


def take(effects: Effects, values: list[bytes | None]) -> None:
    stage: Any = Stage(Count(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    asyncio.run(stage.process_chunk([record(value, offset) for offset, value in enumerate(values)], 3))


def test_effects_happen_in_the_order_that_is_the_guarantee() -> None:
    effects = Effects()
    take(effects, [edge("a"), b"garbage", edge("b")])
    assert effects.log == ["outputs", "dead letters", "changelog", "store"]
    assert effects.rows == {b"n": b"2"}


@pytest.mark.parametrize("failing", ["outputs", "dead letters", "changelog"])
def test_a_failure_leaves_the_local_store_as_it_was(failing: str) -> None:
    effects = Effects(failing)
    with pytest.raises(ConnectionError):
        take(effects, [edge("a"), b"garbage"])
    assert "store" not in effects.log


def test_a_worker_that_was_replaced_ends_before_it_trusts_its_own_copy() -> None:
    effects = Effects()
    effects.first = 52
    with pytest.raises(FatalError, match="another worker wrote"):
        take(effects, [edge("a")])
    assert effects.log == ["outputs", "changelog"]


def test_bytes_that_are_no_record_become_dead_letters_with_their_place() -> None:
    effects = Effects()
    take(effects, [None, b"\x00\x00\x00\x00\x63rest", edge("a") + b"!"])
    letters = [decode(output.value)[1] for output in effects.published if output.topic == DEAD_LETTERS]
    assert [letter["reason"] for letter in letters] == ["not_avro", "unknown_schema", "not_avro"]
    assert [letter["payload"] for letter in letters] == [b"", b"\x00\x00\x00\x00\x63rest", edge("a") + b"!"]
    assert [(letter["topic"], letter["partition"], letter["offset"]) for letter in letters] == [
        ("touchline.erp", 3, offset) for offset in range(3)
    ]


def test_a_record_that_was_sent_again_and_refused_again_has_the_same_letter() -> None:
    effects = Effects()
    stage: Any = Stage(Count(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    asyncio.run(stage.process_chunk([record(b"poison", 5)], 3))
    asyncio.run(stage.process_chunk([record(b"poison", 90, replay_headers(5, 1)), record(b"poison", 91)], 3))
    first, again, other = (decode(output.value)[1] for output in effects.published)
    assert first["letter_id"] == again["letter_id"] != other["letter_id"]
    assert [(letter["offset"], letter["replays"], letter["key"]) for letter in (first, again, other)] == [
        (5, 0, b"k"),
        (5, 1, b"k"),
        (91, 0, b"k"),
    ]


def test_a_record_that_breaks_a_step_is_refused_and_the_rest_flows_on() -> None:
    effects = Effects()
    take(effects, [edge("a"), edge("13"), edge("b")])
    outputs = [output.value for output in effects.published if output.topic == "out"]
    letters = [decode(output.value)[1] for output in effects.published if output.topic == DEAD_LETTERS]
    assert outputs == [b"1", b"2"]
    assert [(letter["reason"], letter["offset"]) for letter in letters] == [("unprocessable", 1)]
    assert effects.rows == {b"n": b"2"}


def changelog(partition: int, *rows: tuple[bytes, bytes], offset: int) -> Any:
    """An event of recovery: a chunk of changelog records."""
    records = [SimpleNamespace(key=key, value=value) for key, value in rows]
    return SimpleNamespace(message=SimpleNamespace(partition=partition, offset=offset, value=records))


def test_recovery_keeps_the_row_with_the_higher_fence(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._dbs = {2: rocksdict.Rdict(str(tmp_path / "rows"), options())}
    whole = [
        (b"a", encode_stored_row(7, b"new")),
        (b"a", encode_stored_row(3, b"of a frozen worker")),
        (b"b", encode_stored_row(1, b"old")),
        (b"b", encode_stored_row(9, b"new")),
    ]
    store.apply_changelog_batch([changelog(2, *whole, offset=3)], bytes, bytes)
    store.apply_changelog_batch([changelog(2, (b"b", encode_stored_row(8, b"of a frozen worker")), offset=4)], bytes, bytes)
    assert dict(store.scan(2)) == {b"a": b"new", b"b": b"new"}
    assert store._dbs[2].get(store.offset_key) == b"4"
    assert store.load(2, [b"nobody", b"a"]) == [None, (7, b"new")]


class Pair(Count):
    """Fails only when two records of a kind are in one chunk: no record is bad by itself."""

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        kinds = [each.fields["kind"] for each in records]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a bug that only a chunk has")
        return super().process(records, rows, refuse)


def test_a_chunk_that_fails_only_as_a_whole_is_processed_one_by_one() -> None:
    effects = Effects()
    stage: Any = Stage(Pair(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    asyncio.run(stage.process_chunk([record(edge("a"), 0), record(edge("a"), 1)], 3))
    assert [output.value for output in effects.published] == [b"1", b"2"]
    assert effects.rows == {b"n": b"2"}


def test_the_local_copy_knows_when_the_changelog_went_on_without_it(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._dbs = {0: rocksdict.Rdict(str(tmp_path / "rows"), options())}
    assert store.is_next(0, 0)
    store.write(0, [(b"a", encode_stored_row(1, b"row"))], 9)
    assert store.is_next(0, 10)
    assert not store.is_next(0, 15)


class Stream:
    """Events as Faust hands them out; counts how many were taken."""

    def __init__(self, partitions: list[int]) -> None:
        self.events = [self._event(offset, partition) for offset, partition in enumerate(partitions)]
        self.taken = 0

    def _event(self, offset: int, partition: int) -> Any:
        message = SimpleNamespace(partition=partition, done=False)
        return SimpleNamespace(value=[record(edge("a"), offset)], message=message, ack=lambda: None)

    async def __aiter__(self) -> Any:
        for event in self.events:
            self.taken += 1
            yield event
        await asyncio.Event().wait()


@pytest.mark.parametrize("partitions", [[0] * 50, [0, 1] * 25])
def test_a_stage_that_waits_takes_up_no_more_than_it_may_hold(partitions: list[int]) -> None:
    stream = Stream(partitions)
    source: Any = SimpleNamespace(noack=lambda: SimpleNamespace(events=stream.__aiter__))

    async def held() -> tuple[int, int]:
        gate, order = asyncio.Event(), []

        async def take(chunk: list[Any], partition: int) -> None:
            await gate.wait()
            order.append((partition, chunk[0].offset))

        stage: Any = Stage(Count(), None, Effects)  # type: ignore[arg-type]
        stage.process_chunk = take
        running = asyncio.create_task(stage.run(source))
        await asyncio.sleep(0.05)
        taken = stream.taken
        gate.set()
        await asyncio.sleep(0.05)
        running.cancel()
        for partition in set(partitions):
            offsets = [offset for each, offset in order if each == partition]
            assert offsets == sorted(offsets)
        return taken, len(order)

    assert asyncio.run(held()) == (MAX_CHUNKS_IN_FLIGHT + 1, 50)


def test_a_copy_answers_what_it_was_told_last_also_from_memory(tmp_path: Path) -> None:
    copy = Replica("touchline.identity", tmp_path / "copy", lambda value: value[1:])
    assert copy.get(b"k") is None
    for number, value in enumerate((b"-old", b"-new", None)):
        copy._apply([SimpleNamespace(key=b"k", value=value, offset=number)])
        assert copy.get(b"k") == (value[1:] if value else None)
        assert copy.get(b"k") == copy._rows.get(b"k")


def test_a_copy_remembers_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.engine.replica.MAX_CACHED_KEYS", 10)
    copy = Replica("touchline.identity", tmp_path / "copy", bytes)
    for number in range(95):
        copy.get(b"%d" % number)
    assert len(copy._cache) <= 10


def test_the_age_of_a_touchpoint_is_told_of_whatever_record_carries_it() -> None:
    touchpoint = {
        "event_id": b"e" * 16,
        "source": "erp",
        "system": "test",
        "connector": "test",
        "type": "order.placed",
        "channel": "web",
        "occurred_at": 1,
        "received_at": 1,
        "identifiers": [],
        "attributes": {},
    }
    carried = {"customer_id": b"c" * 16, "stage": "", "seen": b""}
    inside, broken = encode("erp", touchpoint), b"broken"
    effects = Effects()
    stage: Any = Stage(Silent(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    for values, told in (
        ([inside], 1),
        ([encode("resolved", {**carried, "touchpoint": inside})], 1),
        ([encode("resolved", {**carried, "touchpoint": broken})], 0),
        ([b"no record"], 0),
    ):
        before = ages()
        asyncio.run(stage.process_chunk([record(value, offset) for offset, value in enumerate(values)], 3))
        assert ages() - before == told


class Silent(Count):
    """Takes everything, says nothing."""

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        return []


def ages() -> float:
    """How many ages were observed for the stage `count`."""
    found = telemetry.EVENT_AGE.labels("count")
    return float(sum(bucket.get() for bucket in found._buckets))
