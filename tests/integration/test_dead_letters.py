"""`touchline dead-letters` on real servers: records refused by a stage and by a sink are listed, shown and replayed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from kafka import KafkaConsumer, TopicPartition

from deploy.dead_letters import replay as replaying
from deploy.dead_letters.dead_letter import MAX_REPLAYS
from deploy.local.state import Stack
from schemas.errors import RecordError, RetryableError
from schemas.records.dead_letter import DeadLetter, Replay, make_dead_letter
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode, encode_model
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.sinks import ask, ask_value, journey, publish, send, to_uuid
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
SECRET = "ann@example.org"
FAULTY_WORKER = """
import sys
from streams.steps.identify import Identify

right = Identify.process

def process(self, records, *rest):
    if any(record.fields.get("system") == "broken" for record in records):
        raise ValueError("a bug")
    return right(self, records, *rest)

Identify.process = process
sys.argv = ["touchline", "work", "--name", "faulty", "--no-restart"]
from deploy.cli import main
main()
"""
CRASH_BEFORE_MARKS = """
import os, sys
from deploy.dead_letters.replay import Sender

Sender._mark = lambda *_: os._exit(137)
sys.argv = ["touchline", "dead-letters", "replay", *sys.argv[1:]]
from deploy.cli import main
main()
"""
TOUCHPOINT: dict[str, Any] = {
    "event_id": uuid4().bytes,
    "source": "erp",
    "system": "broken",
    "connector": "test",
    "type": "order.placed",
    "channel": "web",
    "occurred_at": 1_760_000_000_000,
    "received_at": 1_760_000_000_000,
    "identifiers": [{"kind": "email", "value": SECRET}],
    "attributes": {},
}
JOURNEY = journey(touchpoints=-1)
POISON = f"poison of {SECRET}".encode()


def run(command: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOUCHLINE, "dead-letters", command, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines on standard error after the first one, which names the services."""
    services, *lines = done.stderr.splitlines()
    assert services.startswith("touchline dead-letters: ")
    return lines


def list_by_stage(where: str) -> dict[str, dict[str, Any]]:
    """Return the output of `list --json` by stage."""
    done = run("list", "--json", "--where", where)
    assert done.returncode == 0, done.stderr
    return {letter["stage"]: letter for letter in map(json.loads, done.stdout.splitlines())}


@contextmanager
def process(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@pytest.fixture(scope="module")
def sink(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """Create topics and tables, and run all sinks."""
    subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True, timeout=60)
    with process(tmp_path_factory.mktemp("sink") / "log", TOUCHLINE, "sink", "--no-restart") as running:
        yield running


@pytest.fixture(scope="module")
def line(sink: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have records refused by a worker with a bug and by a column that is too narrow; then fix both and run the worker."""
    folder = tmp_path_factory.mktemp("line")
    send("touchline.erp", [(SECRET.encode(), encode("erp", TOUCHPOINT)), (SECRET.encode(), POISON)])
    publish("touchline.journeys", "journey", [JOURNEY])
    with process(folder / "faulty", sys.executable, "-c", FAULTY_WORKER):
        eventually(
            lambda: ask_value("SELECT count() FROM touchline.dead_letters WHERE stage IN ('identify', 'sink_journeys')") == 3
        )
    ask("ALTER TABLE touchline_store.journeys_by_customer MODIFY COLUMN touchpoints Int64")
    with process(folder / "worker", TOUCHLINE, "work"):
        yield


MINE = "stage IN ('identify', 'sink_journeys') AND offset <= 1 AND topic IN ('touchline.erp', 'touchline.journeys')"


def states() -> set[tuple[str, str, int, int]]:
    """Return stage, reason, replays and replayed of each dead letter of `line`."""
    found = ask(f"SELECT stage, reason, replays, replayed FROM touchline.dead_letters WHERE {MINE}")
    return {(row["stage"], row["reason"], row["replays"], row["replayed"]) for row in found}


def ends() -> dict[TopicPartition, int]:
    consumer = KafkaConsumer(**KafkaSettings().kafka_python(), enable_auto_commit=False)
    try:
        names = [name for name in consumer.topics() if name.startswith("touchline.")]
        ends: dict[TopicPartition, int] = consumer.end_offsets(
            [TopicPartition(name, number) for name in names for number in consumer.partitions_for_topic(name)]
        )
    finally:
        consumer.close()
    return ends


def visible_rows() -> tuple[int, int]:
    """Return how many rows the views have of the touchpoint and of the journey."""
    touchpoints = ask_value("SELECT count() FROM touchline.touchpoints WHERE system = 'broken'")
    return touchpoints, ask_value(f"SELECT count() FROM touchline.journeys WHERE journey_id = '{to_uuid(JOURNEY['journey_id'])}'")


def test_refused_records_are_replayed_until_they_pass_or_loop(line: None) -> None:
    bug, poison, narrow = "unprocessable", "not_avro", "unfit_value"
    assert states() == {("identify", bug, 0, 0), ("identify", poison, 0, 0), ("sink_journeys", narrow, 0, 0)}
    before = set(ask(f"SELECT letter_id FROM touchline.dead_letters WHERE {MINE}")[0].values())

    listed = run("list", "--where", MINE)
    assert listed.returncode == 0
    assert all(word in listed.stdout for word in (bug, poison, narrow, "touchline.erp/", "3 of 3 dead letters"))
    assert SECRET not in listed.stdout + run("list", "--json").stdout
    one = list_by_stage(f"reason = '{poison}' AND {MINE}")["identify"]
    shown_record = run("show", one["letter_id"][:8]).stdout
    assert POISON.decode() in shown_record
    assert f"letter_id = '{one['letter_id']}'" in shown_record

    waiting = ends()
    dry = run("replay", "--dry-run", "--where", MINE)
    assert (dry.returncode, errors(dry)) == (0, [])
    assert "3 dead letters would be sent again" in dry.stdout
    assert ends() == waiting
    assert states() == {("identify", bug, 0, 0), ("identify", poison, 0, 0), ("sink_journeys", narrow, 0, 0)}

    crashed = subprocess.run([sys.executable, "-c", CRASH_BEFORE_MARKS, "--where", MINE], check=False, timeout=60)
    assert crashed.returncode == 137
    eventually(lambda: visible_rows() == (1, 1) and ("identify", poison, 1, 0) in states())
    assert states() == {("identify", bug, 0, 0), ("identify", poison, 1, 0), ("sink_journeys", narrow, 0, 0)}

    done = run("replay", "--where", MINE)
    assert (done.returncode, errors(done)) == (0, [])
    assert "3 sent" in done.stdout
    fixed = {("identify", bug, 1, 1), ("sink_journeys", narrow, 1, 1)}
    eventually(lambda: states() == fixed | {("identify", poison, 2, 0)})

    once_more = run("replay", "--where", MINE)
    assert once_more.returncode == 0
    assert "1 sent" in once_more.stdout
    assert "2 left out, replayed" in once_more.stdout
    eventually(lambda: states() == fixed | {("identify", poison, MAX_REPLAYS, 0)})

    guarded = run("replay", "--where", MINE)
    assert guarded.returncode == 1
    assert "0 dead letters will be sent again" in guarded.stdout
    assert "1 left out, looping" in guarded.stdout
    lifted = run("replay", "--again", "--where", MINE)
    assert (lifted.returncode, "1 sent" in lifted.stdout) == (0, True)
    eventually(lambda: states() == fixed | {("identify", poison, MAX_REPLAYS + 1, 0)})

    assert visible_rows() == (1, 1)
    assert before <= {row["letter_id"] for row in ask(f"SELECT letter_id FROM touchline.dead_letters WHERE {MINE}")}
    assert (
        ask_value("SELECT count() FROM touchline.dead_letters WHERE stage IN ('identify', 'link', 'join', 'sink_journeys')") == 3
    )


def dead_letter(**fields: Any) -> DeadLetter:
    made = make_dead_letter(RecordError("not_avro", "no record"), uuid4().bytes, stage="test", origin="touchline.erp/0/0")
    return made.model_copy(update={"topic": "touchline.erp", "partition": 0, "offset": 0, **fields})


def publish_dead_letters(*records: DeadLetter | Replay) -> None:
    names = {DeadLetter: "dead_letter", Replay: "replay"}
    send(DEAD_LETTERS, [(record.letter_id.bytes, encode_model(names[type(record)], record)) for record in records])


def test_records_that_cannot_be_replayed_are_left_out_with_next_step(sink: subprocess.Popen[bytes]) -> None:
    stage = f"test-{uuid4().hex}"
    publish_dead_letters(
        dead_letter(stage=stage, topic=None, partition=None, offset=None),
        dead_letter(stage=stage, truncated=True),
        dead_letter(stage=stage, topic="touchline.identity"),
    )
    waiting = ends()
    done = run("replay", "--where", f"stage = '{stage}'")
    assert (done.returncode, errors(done)) == (1, [])
    assert "0 dead letters will be sent again" in done.stdout
    assert "1 left out, not on Kafka: refused by a connector" in done.stdout
    assert "1 left out, truncated: too large" in done.stdout
    assert "1 left out, compacted: an old record must not replace" in done.stdout
    assert ends() == waiting


def test_state_does_not_depend_on_order_of_arrival(sink: subprocess.Popen[bytes]) -> None:
    """All records carry the same time, so the state cannot depend on clocks either."""
    stage, now = f"test-{uuid4().hex}", datetime.now(UTC)
    for order in permutations(range(4)):
        one = dead_letter(stage=stage, at=now, detail=f"{order}")
        facts = (
            one,
            Replay(letter_id=one.letter_id, replays=1, at=now),
            one.model_copy(update={"replays": 1, "reason": "again"}),
            Replay(letter_id=one.letter_id, replays=2, at=now),
        )
        publish_dead_letters(*(facts[number] for number in order))
        publish_dead_letters(dead_letter(stage=stage, at=now, detail="never replayed"))
    replaying.wait_until_stored(KafkaSettings())
    counted = f"SELECT reason, replays, replayed, count() AS n FROM touchline.dead_letters WHERE stage = '{stage}' GROUP BY ALL"
    assert sorted(tuple(row.values()) for row in ask(counted)) == [("again", 2, 1, 24), ("not_avro", 0, 0, 24)]


def test_replay_waits_until_all_dead_letters_are_stored(sink: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MAX_WAIT_SECONDS", 0.0)
    eventually(is_caught_up)
    psutil.Process(sink.pid).suspend()
    try:
        publish_dead_letters(dead_letter())
        with pytest.raises(
            RetryableError, match=r"ClickHouse is 1 records of .* behind: run `touchline sink dead_letters replays`"
        ):
            replaying.wait_until_stored(KafkaSettings())
    finally:
        psutil.Process(sink.pid).resume()
    eventually(is_caught_up)


def is_caught_up() -> bool:
    try:
        replaying.wait_until_stored(KafkaSettings())
    except RetryableError:
        return False
    return True


@pytest.mark.parametrize(
    "where",
    [
        "nothing = 1",
        "reason",
        "1)",
        "1) UNION ALL (SELECT 1",
        "at > 'never'",
        "1 = (SELECT 1 FROM url('http://127.0.0.1:1', CSV, 'a Int8'))",
    ],
)
def test_invalid_condition_is_one_line_and_exit_code_2(where: str, sink: subprocess.Popen[bytes]) -> None:
    done = run("list", "--where", where)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = errors(done)
    assert error.startswith("touchline: --where is no valid condition on the columns")


def test_condition_that_fails_on_a_record_does_not_print_its_content(sink: subprocess.Popen[bytes]) -> None:
    stage = f"test-{uuid4().hex}"
    publish_dead_letters(dead_letter(stage=stage, payload=SECRET.encode()))
    eventually(lambda: len(list_by_stage(f"stage = '{stage}'")) == 1)
    done = run("list", "--where", f"stage = '{stage}' AND toUInt64(payload) > 1")
    assert done.returncode == 2
    assert SECRET not in done.stderr
    assert "toUInt64OrNull" in done.stderr


def test_dead_letter_is_found_by_start_of_its_id(sink: subprocess.Popen[bytes]) -> None:
    publish_dead_letters(
        *(dead_letter(letter_id=UUID(f"{number:08x}-0000-5000-8000-000000000000")) for number in (0xABCD0001, 0xABCD0002))
    )
    eventually(lambda: ask_value("SELECT count() FROM touchline.dead_letters WHERE startsWith(toString(letter_id), 'abcd')") == 2)
    assert run("show", "ABCD0001").returncode == 0
    for wrong, error in (
        ("abcd", "more than one"),
        ("ffffffff-ffff", "no dead letter has"),
        ("'; DROP", "no id of a dead letter"),
    ):
        done = run("show", wrong)
        assert done.returncode == 2
        assert error in done.stderr
