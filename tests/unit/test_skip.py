"""Plan of `touchline skip`: the group, the record and the commits, without Kafka."""

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from deploy.commands.skip import show_plan
from deploy.skip.kafka import make_dead_letters
from deploy.skip.plan import (
    MAX_RECORDS,
    Position,
    has_passed,
    make_commits,
    require_near,
    require_next,
    require_no_members,
)
from deploy.skip.readers import choose_reader, list_readers
from deploy.terminal.console import console
from schemas.errors import ConfigError, RetryableError
from schemas.wire.topics import DEAD_LETTERS, IDENTITY_REQUESTS, IDENTITY_STATE, RESOLVED, TOPICS
from sinks.contract import load_tables
from sinks.intent import Intent
from streams.engine.worker import GROUP

TOPIC = "touchline.erp"
HERE = TopicPartition(TOPIC, 3)


def place(**changes: Any) -> Position:
    position = Position(HERE, 5, 50, {HERE: OffsetAndMetadata(17, "", -1)}, [])
    return position._replace(**changes)


def record(offset: int, value: bytes | None = b"junk") -> Any:
    return SimpleNamespace(topic=TOPIC, partition=3, offset=offset, key=b"k", value=value, headers=[])


def test_each_topic_of_the_chain_is_read_by_the_worker_and_each_table_by_its_sink() -> None:
    assert [(each.group, each.stage) for each in list_readers(TOPIC)] == [(GROUP, "identify")]
    assert [each.stage for each in list_readers(IDENTITY_REQUESTS)] == ["link"]
    assert next(each.stage for each in list_readers(RESOLVED)) == "join"
    read = {each.name for topic in TOPICS for each in list_readers(topic.name)}
    assert read == {"work", *load_tables()}


def test_only_reader_of_a_topic_is_chosen_without_a_name() -> None:
    assert choose_reader(TOPIC, 3, None) == choose_reader(TOPIC, 3, "work")
    assert choose_reader(RESOLVED, 3, "work").group == GROUP


@pytest.mark.parametrize(
    ("topic", "partition", "name", "message"),
    [
        ("touchline.nothing", 0, None, "there is no topic touchline.nothing"),
        (TOPIC, 8, None, "has the partitions 0 to 7, not 8"),
        (TOPIC, 0, "journeys", "does not read touchline.erp: choose one of work"),
        (RESOLVED, 0, None, "choose one by --group"),
        (DEAD_LETTERS, 0, None, "choose one by --group"),
        (IDENTITY_STATE, 0, None, "no consumer group reads"),
    ],
)
def test_wrong_reader_is_a_wrong_argument(topic: str, partition: int, name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_reader(topic, partition, name)


def test_committed_offset_is_passed_and_the_next_one_is_not() -> None:
    assert has_passed(place(), 16)
    assert not has_passed(place(), 17)
    assert has_passed(place(committed={}), 4)
    assert not has_passed(place(committed={}), 5)
    with pytest.raises(ConfigError, match=r"touchline\.erp/3 ends before offset 50"):
        has_passed(place(), 50)


def test_active_consumers_are_named_with_the_next_step() -> None:
    reader = choose_reader(TOPIC, 3, None)
    require_no_members(place(), reader)
    with pytest.raises(RetryableError, match=r"2 active consumers \(a at x, b at y\): stop every `touchline work`"):
        require_no_members(place(members=["a at x", "b at y"]), reader)


def test_only_the_next_record_is_skipped_unless_earlier_ones_are_included() -> None:
    require_next(place(), [record(17)], 17, with_earlier=False)
    earlier = [record(offset) for offset in (17, 18, 20)]
    with pytest.raises(ConfigError, match=r"at offset 17 of touchline\.erp/3, 2 records before 20: skip 17 first"):
        require_next(place(), earlier, 20, with_earlier=False)
    require_next(place(), earlier, 20, with_earlier=True)
    with pytest.raises(ConfigError, match="no record at offset 19"):
        require_next(place(), earlier[:2], 19, with_earlier=True)
    with pytest.raises(ConfigError, match="no record at offset 17"):
        require_next(place(), [], 17, with_earlier=False)


def test_offset_far_ahead_is_refused_before_records_are_read() -> None:
    require_near(place(), 16 + MAX_RECORDS)
    with pytest.raises(ConfigError, match="name the offset that blocks it"):
        require_near(place(), 17 + MAX_RECORDS)


def test_gap_before_the_record_needs_no_option() -> None:
    require_next(place(), [record(20)], 20, with_earlier=False)


def test_commit_removes_exactly_the_intents_that_contain_the_record() -> None:
    containing = str(Intent("v", "a", {0: (10, 20), 3: (17, 30)}))
    other = str(Intent("v", "b", {1: (10, 20), 4: (0, 9)}))
    later = str(Intent("v", "c", {2: (0, 5), 3: (18, 30)}))
    committed = {
        TopicPartition(TOPIC, 0): OffsetAndMetadata(10, containing, 7),
        TopicPartition(TOPIC, 1): OffsetAndMetadata(11, other, 7),
        TopicPartition(TOPIC, 2): OffsetAndMetadata(0, later, 7),
        HERE: OffsetAndMetadata(17, containing, 7),
        TopicPartition("other", 3): OffsetAndMetadata(17, containing, 7),
    }
    commits = make_commits(place(committed=committed), 17)
    assert {partition.partition: (held.offset, held.metadata) for partition, held in commits.items()} == {
        0: (10, ""),
        3: (18, ""),
    }
    assert {partition.topic for partition in commits} == {TOPIC}
    assert make_commits(place(committed=committed), 18)[TopicPartition(TOPIC, 2)].metadata == ""


def test_dead_letter_of_a_skip_keeps_bytes_and_place_and_a_repetition_has_the_same_id() -> None:
    reader = choose_reader(TOPIC, 3, None)
    first, again = (make_dead_letters([record(17), record(18, None)], reader, "too slow") for _ in range(2))
    assert [each.letter_id for each in first] == [each.letter_id for each in again]
    letter = first[0]
    assert (letter.stage, letter.reason, letter.detail) == ("identify", "skipped", "too slow")
    assert (letter.topic, letter.partition, letter.offset, letter.payload) == (TOPIC, 3, 17, b"junk")
    assert first[1].payload == b""


def test_plan_fits_80_columns_and_shows_no_customer_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_plan(console(), choose_reader(TOPIC, 3, None), place(), [record(17, b"ann@example.com")])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "touchline.erp/3, next offset 17" in printed
    assert "not_avro" in printed
    assert "ann@" not in printed
