"""Rebuild: parts of a history, ranges of customers, rate, cursor, and the customers that an interruption leaves."""

import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from rich.console import Console

from deploy.commands import rebuild
from deploy.rebuild import cursor as cursors
from deploy.rebuild.cursor import Cursor, find_resumed, load_cursor, save_cursor
from deploy.rebuild.history import MAX_PART_BYTES, Part, cut_parts, pack_touchpoint
from deploy.rebuild.lag import measure_lag
from deploy.rebuild.output import format_line, progress
from deploy.rebuild.publisher import MAX_UNACKNOWLEDGED_BYTES, HistoryPublisher, Pace
from deploy.rebuild.queries import CONDITIONS, HistoryReader, StoredTouchpoint, select_touchpoints
from deploy.rebuild.run import MAX_REPETITIONS, Hooks, Rebuild, repeat_incomplete
from deploy.rebuild.scope import MAX_RANGE_TOUCHPOINTS, Bucket, Kind, Large, Range, Scope, Work, count_all, cut_ranges
from schemas.errors import ConfigError, RetryableError
from schemas.wire.codec import decode, encode
from schemas.wire.topics import RESOLVED, customer_partition
from streams.steps.resolved import forward_to_customer
from streams.touchpoint import NODE_BYTES, Touchpoint, decode_touchpoint, decode_touchpoints, encode_touchpoints
from tests.harness.joining import Joining
from tests.harness.sinks import RESOLVED as RECORD

CUSTOMER = bytes(range(16))
SCOPE = Scope(kind=Kind.ALL)
LARGE = 3
Histories = dict[bytes, list[StoredTouchpoint]]
SIZES = st.lists(st.integers(1, MAX_PART_BYTES + 100_000), max_size=12)


def record(number: int) -> bytes:
    fields = {name: value for name, value in RECORD.items() if name != "stage"}
    return encode("erp", {**fields, "event_id": number.to_bytes(16, "big"), "occurred_at": number})


def packed(number: int, text: str = "") -> bytes:
    return encode_touchpoints([Touchpoint(number, number.to_bytes(16, "big"), "erp", "order.placed", "web", product=text)])[1:]


@given(sizes=SIZES, keep=st.booleans())
def test_parts_keep_order_and_bounds_and_mark_first_and_last(sizes: list[int], *, keep: bool) -> None:
    touchpoints = [packed(number, "x" * size) for number, size in enumerate(sizes)]
    parts = list(cut_parts(CUSTOMER, touchpoints, keep_existing=keep))
    records = [decode(part.value) for part in parts]
    assert {name for name, _ in records} == {"history"}
    assert [fields["is_first"] for _, fields in records] == [True] + [False] * (len(parts) - 1)
    assert [fields["is_last"] for _, fields in records] == [False] * (len(parts) - 1) + [True]
    assert {fields["keep_existing"] for _, fields in records} == {keep}
    decoded = [decode_touchpoints(fields["touchpoints"]) for _, fields in records]
    assert [each.at for part in decoded for each in part] == list(range(len(sizes)))
    assert [len(part) for part in decoded] == [part.touchpoints for part in parts]
    assert all(part.touchpoints == 1 or len(part.value) < MAX_PART_BYTES + 100 for part in parts)


def test_history_without_touchpoints_is_one_empty_part() -> None:
    (part,) = cut_parts(CUSTOMER, [], keep_existing=False)
    fields = decode(part.value)[1]
    assert (fields["is_first"], fields["is_last"], fields["keep_existing"]) == (True, True, False)
    assert decode_touchpoints(fields["touchpoints"]) == []


def test_packed_touchpoint_has_stage_and_identifiers_of_the_stored_row() -> None:
    nodes = [bytes([number]) * 16 for number in range(2)]
    (found,) = decode_touchpoints(b"\x91" + pack_touchpoint(record(7), nodes))
    assert (found.at, found.id, found.type, found.stage) == (7, (7).to_bytes(16, "big"), "order.placed", "purchase")
    assert found.nodes == nodes[0][:NODE_BYTES] + nodes[1][:NODE_BYTES]


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(1, MAX_RANGE_TOUCHPOINTS * 2)), unique_by=lambda each: each[0]))
def test_ranges_cover_each_bucket_once_in_order_and_within_the_bound(found: list[tuple[int, int]]) -> None:
    buckets = [Bucket(number, 1, touchpoints) for number, touchpoints in sorted(found)]
    ranges = cut_ranges(buckets)
    within = [[each for each in buckets if each.number in range(one.first, one.last + 1)] for one in ranges]
    assert [each for part in within for each in part] == buckets
    assert all(one.last < other.first for one, other in pairwise(ranges))
    assert all(len(part) == 1 or count_all(Work([], part)).touchpoints <= MAX_RANGE_TOUCHPOINTS for part in within)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 3)), min_size=1, max_size=30))
def test_pace_holds_the_rate_and_saves_up_at_most_a_second(calls: list[tuple[int, float]]) -> None:
    now, sent = 0.0, 0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(1_000, lambda: now, sleep)
    for touchpoints, idle in calls:
        now += idle
        began = now
        pace.pause(touchpoints)
        sent += touchpoints
        assert now >= began
    assert sent <= 1_000 * (now + 1.0) + 1


def test_pace_without_a_limit_never_sleeps() -> None:
    Pace(0, sleep=lambda _: pytest.fail("slept")).pause(10_000_000)


class Sent(NamedTuple):
    partition: int
    key: bytes
    value: bytes


class Future(NamedTuple):
    partition: int
    offset: int

    def get(self, timeout: float) -> "Future":
        return self


class Producer:
    """Kafka that acknowledges every record, until one is the `last`."""

    def __init__(self, last: int = 1_000_000) -> None:
        self.sent: list[Sent] = []
        self.offsets: defaultdict[int, int] = defaultdict(int)
        self._last = last

    def send(self, topic: str, *, value: bytes, key: bytes, partition: int) -> Future:
        assert topic == RESOLVED
        if len(self.sent) == self._last:
            raise RetryableError("Kafka is away")
        self.sent.append(Sent(partition, key, value))
        self.offsets[partition] += 1
        return Future(partition, self.offsets[partition] - 1)


class Reader:
    """ClickHouse with the touchpoints of each customer, after a cursor. Customers with three touchpoints or more are large."""

    def __init__(self, histories: Histories, cursor: Cursor) -> None:
        self._histories = histories
        ordered = sorted(histories)
        self._large = [key for key in ordered if len(histories[key]) >= LARGE and key.hex() > cursor.last_large]
        self._small = [key for key in ordered if len(histories[key]) < LARGE and key.hex() > cursor.last_customer]

    def work(self) -> Work:
        keyed = groupby(self._small, lambda key: int.from_bytes(key[:2], "big"))
        groups = ((number, [self._histories[key] for key in keys]) for number, keys in keyed)
        buckets = [Bucket(number, len(group), sum(map(len, group))) for number, group in groups]
        return Work([Large(key, len(self._histories[key])) for key in self._large], buckets)

    def touchpoints(self, within: Range) -> Iterator[StoredTouchpoint]:
        for key in self._small:
            if within.first <= int.from_bytes(key[:2], "big") <= within.last:
                yield from self._histories[key]

    def touchpoints_of(self, customer_id: bytes) -> Iterator[StoredTouchpoint]:
        return iter(self._histories[customer_id])


def in_order(histories: Histories) -> list[bytes]:
    """Return the customers in the order of a rebuild."""
    return sorted(histories, key=lambda key: (len(histories[key]) < LARGE, key))


def make_histories(sizes: list[int]) -> Histories:
    keys = [(number * 7_919 % 65_536).to_bytes(2, "big") + bytes(14) for number in range(len(sizes))]
    return {
        key: [StoredTouchpoint(key, [key], record(number)) for number in range(size)]
        for key, size in zip(keys, sizes, strict=True)
    }


def rebuild_once(histories: Histories, producer: Producer, saved: list[Cursor], stop_after: int | None = None) -> Any:
    cursor = saved[-1] if saved else Cursor(scope=SCOPE, servers="", began=0)
    reader: Any = Reader(histories, cursor)
    left = iter(range(stop_after if stop_after is not None else 1_000_000))
    hooks = Hooks(saved.append, lambda _: None, lambda: next(left, None) is None)
    publisher = HistoryPublisher(producer, Pace(0))
    return Rebuild(reader, publisher, hooks).run(reader.work(), cursor)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_rebuild_publishes_each_customer_to_its_partition(sizes: list[int]) -> None:
    histories, producer, saved = make_histories(sizes), Producer(), list[Cursor]()
    result = rebuild_once(histories, producer, saved)
    assert [sent.key for sent in producer.sent] == in_order(histories)
    assert all(sent.partition == customer_partition(sent.key) for sent in producer.sent)
    assert (result.is_complete, result.unreadable) == (True, 0)
    assert (result.cursor.customers, result.cursor.touchpoints) == (len(sizes), sum(sizes))
    assert result.cursor.ends == {partition: count - 1 for partition, count in producer.offsets.items()}


@given(st.lists(st.integers(1, 3), min_size=2, max_size=8), st.data())
def test_stopped_rebuild_resumes_behind_its_last_customer(sizes: list[int], data: st.DataObject) -> None:
    histories, producer, saved = make_histories(sizes), Producer(), list[Cursor]()
    stop_after = data.draw(st.integers(0, len(sizes) - 1))
    assert not rebuild_once(histories, producer, saved, stop_after).is_complete
    assert len(producer.sent) == stop_after
    assert rebuild_once(histories, producer, saved).is_complete
    assert [sent.key for sent in producer.sent] == in_order(histories)
    assert saved[-1].customers == len(sizes)


@given(st.lists(st.integers(1, 3), min_size=2, max_size=8), st.data())
def test_rebuild_after_a_failure_skips_no_customer(sizes: list[int], data: st.DataObject) -> None:
    histories, saved = make_histories(sizes), list[Cursor]()
    failing, producer = Producer(data.draw(st.integers(0, len(sizes) - 1))), Producer()
    with pytest.raises(RetryableError):
        rebuild_once(histories, failing, saved)
    assert rebuild_once(histories, producer, saved).is_complete
    assert {sent.key for sent in failing.sent + producer.sent} == set(histories)


def test_cursor_is_saved_before_the_end_of_a_long_rebuild() -> None:
    text = "x" * 4_000
    fields = decode(record(1))[1]
    large = encode("erp", {**fields, "product": text})
    keys = [number.to_bytes(2, "big") + bytes(14) for number in range(2 * MAX_UNACKNOWLEDGED_BYTES // len(text) + 10)]
    saved: list[Cursor] = []
    rebuild_once({key: [StoredTouchpoint(key, [], large)] for key in keys}, Producer(), saved)
    assert len(saved) == 3
    assert [each.last_customer for each in saved] == sorted(each.last_customer for each in saved)


def test_unreadable_record_is_counted_and_left_out() -> None:
    histories = {CUSTOMER: [StoredTouchpoint(CUSTOMER, [], value) for value in (record(1), b"", record(2))]}
    producer, saved = Producer(), list[Cursor]()
    result = rebuild_once(histories, producer, saved)
    assert (result.unreadable, result.cursor.touchpoints) == (1, 2)
    (sent,) = producer.sent
    assert [each.at for each in decode_touchpoints(decode(sent.value)[1]["touchpoints"])] == [1, 2]


def test_publisher_bounds_unacknowledged_records_within_one_customer() -> None:
    waits: list[int] = []

    class Counting(HistoryPublisher):
        def _wait(self) -> None:
            waits.append(self._unacknowledged)
            super()._wait()

    publisher = Counting(Producer(), Pace(0))
    publisher.publish(CUSTOMER, (Part(b"x" * MAX_PART_BYTES, 1, is_last=number == 29) for number in range(30)))
    assert max(waits) < MAX_UNACKNOWLEDGED_BYTES + MAX_PART_BYTES
    assert publisher.is_flush_due


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOUCHLINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_cursor_survives_a_round_trip_and_is_private(home: Path) -> None:
    cursor = Cursor(
        scope=Scope(kind=Kind.DEFINITION, value="churn", since=datetime(2026, 11, 1, tzinfo=UTC)),
        servers="Kafka a:1",
        began=5,
        last_customer="ab",
        ends={3: 9},
    )
    assert load_cursor() is None
    save_cursor(cursor)
    assert load_cursor() == cursor
    assert find_resumed(None, "Kafka a:1") == find_resumed(cursor.scope, "Kafka a:1") == cursor
    assert home.stat().st_mode & 0o077 == 0
    cursors.delete_cursor()
    assert load_cursor() is None


@pytest.mark.parametrize(
    ("scope", "servers", "text"),
    [
        (Scope(kind=Kind.INCOMPLETE), "Kafka a:1", "is of --all: give only --resume"),
        (None, "Kafka b:1", "used Kafka a:1: set their addresses"),
    ],
)
def test_rebuild_of_another_scope_or_cluster_is_not_resumed(home: Path, scope: Scope | None, servers: str, text: str) -> None:
    save_cursor(Cursor(scope=SCOPE, servers="Kafka a:1", began=5))
    with pytest.raises(ConfigError, match=text):
        find_resumed(scope, servers)


def test_missing_and_damaged_cursor_name_the_next_step(home: Path) -> None:
    with pytest.raises(ConfigError, match="start one without --resume"):
        find_resumed(None, "")
    home.mkdir()
    cursors.cursor_file().write_text("{")
    with pytest.raises(ConfigError, match="is damaged: delete it"):
        load_cursor()


class Committed(NamedTuple):
    offset: int


@given(
    targets=st.dictionaries(st.integers(0, 7), st.integers(0, 20)),
    committed=st.dictionaries(st.integers(0, 7), st.integers(-1, 30)),
)
def test_lag_is_zero_exactly_when_all_targets_are_committed(targets: dict[int, int], committed: dict[int, int]) -> None:
    lag = measure_lag(
        {TopicPartition(RESOLVED, number): offset for number, offset in targets.items()},
        {TopicPartition(RESOLVED, number): Committed(offset) for number, offset in committed.items()},
    )
    assert (lag == 0) == all(max(0, committed.get(number, 0)) >= offset for number, offset in targets.items())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("since", [None, datetime(2026, 11, 1, tzinfo=UTC)])
def test_query_gets_exactly_the_parameters_that_it_names(kind: Kind, since: datetime | None) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    class Client:
        def query(self, sql: str, params: dict[str, Any]) -> Any:
            asked.append((sql, params))
            return type("Answer", (), {"rows": []})

        def stream(self, sql: str, params: dict[str, Any]) -> Iterator[Any]:
            asked.append((sql, params))
            return iter(())

    client: Any = Client()
    reader = HistoryReader(client, Scope(kind=kind, value="x", since=since), 512, after="ab", after_large="cd")
    reader.work()
    list(reader.touchpoints(Range(1, 2)))
    list(reader.touchpoints_of(CUSTOMER))
    assert len(asked) == (3 if kind is Kind.CUSTOMER else 4)
    for sql, params in asked:
        assert set(params) == {each.partition(":")[0] for each in sql.split("{")[1:]}
    assert set(CONDITIONS) == set(Kind)


def test_dry_text_of_a_scope_is_the_options_that_name_it() -> None:
    scope = Scope(kind=Kind.DEFINITION, value="churn", since=datetime(2026, 11, 1, tzinfo=UTC))
    assert scope.text == "--definition churn --since 2026-11-01T00:00:00"
    assert "stored_at >=" in select_touchpoints(scope)


@pytest.mark.parametrize("arguments", [[], ["--all", "--incomplete"], ["--customer", "a", "--definition", "b"]])
def test_command_takes_exactly_one_scope(arguments: list[str]) -> None:
    result = CliRunner().invoke(rebuild.command, arguments)
    assert result.exit_code == 2
    assert "give one of --customer, --definition, --all, --incomplete, or --resume" in result.output


def test_line_of_progress_has_total_share_and_time_left() -> None:
    assert format_line("published", 250, 1_000, 5.0) == "published 250 of 1,000 (25 %), 5 s, 15 s left"
    assert format_line("published", 0, 0, 5.0) == "published 0 of 0 (100 %), 5 s"


def test_progress_without_a_terminal_prints_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("deploy.rebuild.output.time.monotonic", lambda: now)
    out = io.StringIO()
    with progress("published", 100, on=Console(file=out, width=80)) as advance:
        for _ in range(30):
            now += 1.0
            advance(1)
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["10", "20", "30"]


def test_rebuilt_touchpoint_is_the_one_that_the_workers_publish() -> None:
    value, nodes = record(7), [bytes([number]) * 16 for number in range(3)]
    published = decode(forward_to_customer(decode(value)[1], value, CUSTOMER, nodes).value)[1]
    assert pack_touchpoint(published["touchpoint"], published["identifiers"]) == published["seen"]


@pytest.mark.parametrize("max_bytes", [1, 500, MAX_PART_BYTES])
def test_parts_of_any_size_replace_the_row_by_the_same_state(max_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.rebuild.history.MAX_PART_BYTES", max_bytes)
    stored = [pack_touchpoint(record(number * 3_600_000), [CUSTOMER]) for number in range(1, 100)]
    fresh, rebuilt = Joining(kept=64), Joining(kept=64)
    for line in (fresh, rebuilt):
        for each in stored:
            line.resolve(CUSTOMER, decode_touchpoint(each))
        line.run()
    for part in cut_parts(CUSTOMER, stored):
        rebuilt.log[customer_partition(CUSTOMER)].append(part.value)
    rebuilt.run()
    assert rebuilt.state() == fresh.state()
    assert rebuilt.visible() == fresh.visible()
    assert rebuilt.announced()[CUSTOMER]["is_complete"]
    assert rebuilt.row(CUSTOMER).revision == 1


def test_empty_history_removes_all_rows_of_a_customer() -> None:
    line = Joining()
    for number in range(1, 50):
        line.resolve(CUSTOMER, decode_touchpoint(pack_touchpoint(record(number), [CUSTOMER])))
    line.run()
    assert line.visible()
    (part,) = cut_parts(CUSTOMER, [], keep_existing=False)
    line.log[customer_partition(CUSTOMER)].append(part.value)
    line.run()
    assert line.visible() == {}
    assert line.state() == {}


@pytest.mark.parametrize(
    ("lefts", "repeated", "left"), [([0], 0, 0), ([5, 2, 0], 2, 0), ([5, 5, 2, 0], 3, 0), ([5, 4, 3, 2], 3, 2)]
)
def test_incomplete_customers_are_repeated_a_bounded_number_of_times(lefts: list[int], repeated: int, left: int) -> None:
    works = iter([Work([Large(bytes(16), 9)] * min(count, 1), [Bucket(0, max(count - 1, 0), 9)]) for count in lefts])
    done: list[Work] = []
    assert repeat_incomplete(lambda: next(works), done.append) == left
    assert len(done) == repeated <= MAX_REPETITIONS


def test_customers_left_incomplete_end_the_command_with_their_number_and_the_next_step() -> None:
    rebuild.check_left(0)
    with pytest.raises(RetryableError, match=r"2 customers are still incomplete.*rebuild --incomplete") as raised:
        rebuild.check_left(2)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("kind", list(Kind))
def test_repetition_selects_only_incomplete_customers_of_the_scope(kind: Kind) -> None:
    scope = Scope(kind=kind, value="relationship")
    again = scope.model_copy(update={"is_incomplete": True})
    assert CONDITIONS[Kind.INCOMPLETE] in select_touchpoints(again)
    assert select_touchpoints(again).startswith(select_touchpoints(scope))
