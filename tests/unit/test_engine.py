"""Guarantees of the engine without a broker: limits of commits, chunks, order of effects, state recovery."""

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
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import decode, encode
from schemas.wire.topics import DEAD_LETTERS
from streams.contract import Output, Record, Refuse, Rows
from streams.engine.stage import MAX_CHUNKS_IN_FLIGHT, Stage
from streams.engine.store import OFFSET_BYTES, Store, decode_stored_row, encode_stored_row, rocksdb_options
from streams.engine.transport import Ledger, cut_chunks, order_by_timestamp
from streams.engine.worker import build_app
from streams.identity.naming import Naming
from streams.identity.rules import Rules
from streams.steps.link import Link


def record(value: bytes | None, offset: int = 0, headers: Headers = ()) -> Any:
    return SimpleNamespace(key=b"k", value=value, topic="touchline.erp", partition=3, offset=offset, timestamp=0, headers=headers)


@given(st.lists(st.booleans(), max_size=30), st.randoms(use_true_random=False))
def test_commit_never_passes_an_unfinished_chunk(fates: list[bool], chance: Any) -> None:
    ledger = Ledger()
    messages: list[Any] = [
        SimpleNamespace(offset=10 * index + 9, timestamp=float(index), is_done=False) for index in range(len(fates))
    ]
    for message in messages:
        ledger.add(message)
    order = [message for message, done in zip(messages, fates, strict=True) if done]
    chance.shuffle(order)
    committed = 0
    for message in order:
        message.is_done = True
        committed = ledger.committable_offset() or committed
        if chance.random() < 0.5:
            ledger.forget_committed(committed)
        unfinished = [each.offset for each in messages if not each.is_done]
        assert committed <= min(unfinished, default=10**9)
    expected = 0
    for message in messages:
        if not message.is_done:
            break
        expected = message.offset + 1
    assert committed == expected
    assert (ledger.committable_offset() or committed) == committed
    pending = [message.timestamp for message in messages if not message.is_done]
    assert ledger.oldest_pending_timestamp() == min(pending, default=None)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_chunks_keep_every_record_in_order_and_within_bounds(sizes: list[int], records: int, size: int) -> None:
    given_records = [record(b"x" * length, offset) for offset, length in enumerate(sizes)]
    cut = list(cut_chunks(given_records, records, size))
    assert [each for chunk in cut for each in chunk] == given_records
    assert all(len(chunk) <= records for chunk in cut)
    assert all(len(chunk) == 1 or sum(len(each.value) for each in chunk) <= size for chunk in cut)


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=5))
def test_chunks_follow_their_timestamps_and_each_partition_keeps_its_order(queues: list[list[int]]) -> None:
    chunked = {TP("t", n): [[SimpleNamespace(timestamp=at)] for at in queue] for n, queue in enumerate(queues)}
    ordered = list(order_by_timestamp(chunked))
    for tp, queue in chunked.items():
        assert [chunk for each, chunk in ordered if each == tp] == queue
    if all(queue == sorted(queue) for queue in queues):
        times = [chunk[0].timestamp for _, chunk in ordered]
        assert times == sorted(times)


class Effects:
    """Producer and local store of a stage that record the order of effects."""

    def __init__(self, failing: str = "") -> None:
        self.log: list[str] = []
        self.published: list[Output] = []
        self.rows: dict[bytes, bytes] = {}
        self.failing = failing
        self.first = 41

    def record_effect(self, effect: str) -> None:
        if effect == self.failing:
            raise ConnectionError(effect)
        self.log.append(effect)

    async def publish(self, outputs: list[Output]) -> int:
        if outputs:
            self.record_effect("dead letters" if outputs[0].topic == DEAD_LETTERS else "outputs")
        self.published += outputs
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[tuple[bytes, bytes]], prefix: int) -> tuple[int, int]:
        self.record_effect("changelog")
        return self.first, self.first + len(rows) - 1

    def recovered_offset(self, partition: int) -> int:
        return -1

    def is_next(self, partition: int, offset: int) -> bool:
        return offset == 41

    def write(self, partition: int, rows: list[tuple[bytes, bytes]], offset: int) -> None:
        self.record_effect("store")
        self.rows.update((key, value[OFFSET_BYTES:]) for key, value in rows)

    def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
        return [(-1, self.rows[key]) if key in self.rows else None for key in keys]

    def scan(self, partition: int) -> Any:
        return iter(self.rows.items())


class Count:
    """Step that counts records in one row. A record of the kind 13 raises an error, like a bug."""

    name = "count"
    topics = ("touchline.erp",)
    table = "counts"
    changelog = "counts-changelog"
    row_group_prefix_bytes = 0
    max_row_bytes = 1024

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


def process(effects: Effects, values: list[bytes | None]) -> None:
    stage: Any = Stage(Count(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    asyncio.run(stage.process_chunk([record(value, offset) for offset, value in enumerate(values)], 3))


def test_effects_happen_in_the_guaranteed_order() -> None:
    effects = Effects()
    process(effects, [edge("a"), b"garbage", edge("b")])
    assert effects.log == ["outputs", "dead letters", "changelog", "store"]
    assert effects.rows == {b"n": b"2"}


@pytest.mark.parametrize("failing", ["outputs", "dead letters", "changelog"])
def test_failure_leaves_the_local_store_unchanged(failing: str) -> None:
    effects = Effects(failing)
    with pytest.raises(ConnectionError):
        process(effects, [edge("a"), b"garbage"])
    assert "store" not in effects.log


def test_replaced_worker_ends_before_it_writes_its_local_store() -> None:
    effects = Effects()
    effects.first = 52
    with pytest.raises(FatalError, match="another worker wrote"):
        process(effects, [edge("a")])
    assert effects.log == ["outputs", "changelog"]


def test_undecodable_bytes_become_dead_letters_with_their_offsets() -> None:
    effects = Effects()
    process(effects, [None, b"\x00\x00\x00\x00\x63rest", edge("a") + b"!"])
    dead_letters = [decode(output.value)[1] for output in effects.published if output.topic == DEAD_LETTERS]
    assert [letter["reason"] for letter in dead_letters] == ["not_avro", "unknown_schema", "not_avro"]
    assert [letter["payload"] for letter in dead_letters] == [b"", b"\x00\x00\x00\x00\x63rest", edge("a") + b"!"]
    assert [(letter["topic"], letter["partition"], letter["offset"]) for letter in dead_letters] == [
        ("touchline.erp", 3, offset) for offset in range(3)
    ]


def test_replayed_record_that_fails_again_has_the_same_dead_letter() -> None:
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


def test_record_that_breaks_a_step_becomes_a_dead_letter_and_others_continue() -> None:
    effects = Effects()
    process(effects, [edge("a"), edge("13"), edge("b")])
    outputs = [output.value for output in effects.published if output.topic == "out"]
    dead_letters = [decode(output.value)[1] for output in effects.published if output.topic == DEAD_LETTERS]
    assert outputs == [b"1", b"2"]
    assert [(letter["reason"], letter["offset"]) for letter in dead_letters] == [("unprocessable", 1)]
    assert effects.rows == {b"n": b"2"}


def changelog(partition: int, *rows: tuple[bytes, bytes], offset: int) -> Any:
    """Return a recovery event: a chunk of changelog records."""
    records = [SimpleNamespace(key=key, value=value) for key, value in rows]
    return SimpleNamespace(message=SimpleNamespace(partition=partition, offset=offset, value=records))


def test_recovery_keeps_the_row_with_the_higher_last_applied_offset(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._recovered = {}
    store._dbs = {2: rocksdict.Rdict(str(tmp_path / "rows"), rocksdb_options())}
    records = [
        (b"a", encode_stored_row(7, b"new")),
        (b"a", encode_stored_row(3, b"of a frozen worker")),
        (b"b", encode_stored_row(1, b"old")),
        (b"b", encode_stored_row(9, b"new")),
    ]
    store.apply_changelog_batch([changelog(2, *records, offset=3)], bytes, bytes)
    store.apply_changelog_batch([changelog(2, (b"b", encode_stored_row(8, b"of a frozen worker")), offset=4)], bytes, bytes)
    assert dict(store.scan(2)) == {b"a": b"new", b"b": b"new"}
    assert store._dbs[2].get(store.offset_key) == b"4"
    assert store.load(2, [b"unknown", b"a"]) == [None, (7, b"new")]


def test_changelog_chunks_do_not_enter_the_commit_ledger(tmp_path: Path) -> None:
    """The ledger holds acknowledged topics; with the changelog, it would hold all of it in memory during recovery."""
    app: Any = build_app(
        [Link(Naming(b"secret of a unit test", Rules()))], [], KafkaSettings(bootstrap_servers="127.0.0.1:1"), tmp_path
    )
    app.consumer._thread.thread_loop.close()

    async def acknowledged() -> set[str]:
        for channel in (
            *(agent.channel for agent in app.agents.values()),
            *(table.changelog_topic for table in app.tables.values()),
        ):
            app.topics.add(channel)
        await app.topics._update_indices()
        return {topic for topic in (Link.changelog, *Link.topics) if app.topics.acks_enabled_for(topic)}

    assert asyncio.run(acknowledged()) == set(Link.topics)


class Pair(Count):
    """Step that fails only if a chunk holds two records of one kind, so that no single record is bad."""

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        kinds = [each.fields["kind"] for each in records]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a bug that depends on the chunk")
        return super().process(records, rows, refuse)


def test_chunk_that_fails_only_as_a_whole_is_processed_record_by_record() -> None:
    effects = Effects()
    stage: Any = Stage(Pair(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    asyncio.run(stage.process_chunk([record(edge("a"), 0), record(edge("a"), 1)], 3))
    assert [output.value for output in effects.published] == [b"1", b"2"]
    assert effects.rows == {b"n": b"2"}


def test_store_detects_changelog_writes_of_other_workers(tmp_path: Path) -> None:
    store = Store.__new__(Store)
    store._recovered = {}
    store._dbs = {0: rocksdict.Rdict(str(tmp_path / "rows"), rocksdb_options())}
    assert store.is_next(0, 0)
    store.write(0, [(b"a", encode_stored_row(1, b"row"))], 9)
    assert store.is_next(0, 10)
    assert not store.is_next(0, 15)


class Stream:
    """Stream of events that counts how many were read."""

    def __init__(self, partitions: list[int]) -> None:
        self.events = [self._event(offset, partition) for offset, partition in enumerate(partitions)]
        self.read = 0

    def _event(self, offset: int, partition: int) -> Any:
        message = SimpleNamespace(partition=partition, is_done=False)
        return SimpleNamespace(value=[record(edge("a"), offset)], message=message, ack=lambda: None)

    async def __aiter__(self) -> Any:
        for event in self.events:
            self.read += 1
            yield event
        await asyncio.Event().wait()


@pytest.mark.parametrize("partitions", [[0] * 50, [0, 1] * 25])
def test_waiting_stage_reads_at_most_its_maximum_of_chunks(partitions: list[int]) -> None:
    stream = Stream(partitions)
    source: Any = SimpleNamespace(noack=lambda: SimpleNamespace(events=stream.__aiter__))

    async def read_while_blocked() -> tuple[int, int]:
        gate, order = asyncio.Event(), []

        async def process_chunk(chunk: list[Any], partition: int) -> None:
            await gate.wait()
            order.append((partition, chunk[0].offset))

        stage: Any = Stage(Count(), None, Effects)  # type: ignore[arg-type]
        stage.process_chunk = process_chunk
        running = asyncio.create_task(stage.run(source))
        await asyncio.sleep(0.05)
        read = stream.read
        gate.set()
        await asyncio.sleep(0.05)
        running.cancel()
        for partition in set(partitions):
            offsets = [offset for each, offset in order if each == partition]
            assert offsets == sorted(offsets)
        return read, len(order)

    assert asyncio.run(read_while_blocked()) == (MAX_CHUNKS_IN_FLIGHT + 1, 50)


def test_event_age_is_observed_for_each_record_that_carries_a_touchpoint() -> None:
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
    stage: Any = Stage(NoOutput(), lambda: effects, lambda: effects)  # type: ignore[arg-type, return-value]
    for values, observed in (
        ([inside], 1),
        ([encode("resolved", {**carried, "touchpoint": inside})], 1),
        ([encode("resolved", {**carried, "touchpoint": broken})], 0),
        ([b"no record"], 0),
    ):
        before = count_event_ages()
        asyncio.run(stage.process_chunk([record(value, offset) for offset, value in enumerate(values)], 3))
        assert count_event_ages() - before == observed


class NoOutput(Count):
    """Step without outputs."""

    def process(self, records: list[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        return []


def count_event_ages() -> float:
    """Return how many event ages the stage `count` has observed."""
    histogram = telemetry.EVENT_AGE.labels("count")
    return float(sum(bucket.get() for bucket in histogram._buckets))


def test_repeated_chunk_keeps_the_higher_offset_of_a_recovered_row() -> None:
    """Recovery keeps the row with the higher offset: without it, another worker would go back to the row of the crash."""
    applied = [(encode_stored_row(9, b"crash"), b"a"), (encode_stored_row(2, b"old"), b"b")]

    class Recovered:
        def recovered_offset(self, partition: int) -> int:
            return 9

        def load(self, partition: int, keys: list[bytes]) -> list[tuple[int, bytes] | None]:
            held = {key: decode_stored_row(value) for value, key in applied}
            return [held.get(key) for key in keys]

    either: Any = Recovered
    stage = Stage(Link(Naming(b"secret of a unit test", Rules())), either, either)
    rows = stage._encode_rows([(b"a", b"again"), (b"b", b"new"), (b"c", b"new")], 0, 5)
    assert [decode_stored_row(row) for _, row in rows] == [(9, b"again"), (5, b"new"), (5, b"new")]
