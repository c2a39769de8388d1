"""`touchline connect files` as a real process on a real Kafka: its records, its saved cursor and its output."""

import json
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.runtime.publisher import Publisher
from connectors.runtime.runner import Runner
from connectors.settings import open_connector
from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import CONNECTOR_STATE, DEAD_LETTERS
from tests.harness.connectors import (
    connect,
    dead_letters,
    published,
    records,
    states,
    totals,
    wait_for_exit,
    write_orders,
    write_settings,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def kafka(migrated: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{migrated.kafka_port}")


@pytest.fixture
def name() -> str:
    return f"connect-{uuid4().hex[:12]}"


def once(settings: Path, kafka: KafkaSettings) -> str:
    code, out, err = wait_for_exit(connect(settings, kafka, "--once"))
    assert code == 0, err
    return out


def test_every_record_is_published_once_and_the_same_files_again_change_nothing(
    tmp_path: Path, kafka: KafkaSettings, name: str
) -> None:
    settings = write_settings(tmp_path, name)
    good, bad, repeated = write_orders(tmp_path / "drops" / "orders.csv", 1, 4_500)
    output = once(settings, kafka)
    assert f"{name} orders: {4_500 + repeated:,} read = {good:,} published + {bad} dead letters + {repeated} repeated" in output
    before = states(kafka, name)
    assert totals(before) == [good, bad, repeated]
    (tmp_path / "drops" / "orders-again.csv").write_bytes((tmp_path / "drops" / "orders.csv").read_bytes())
    (tmp_path / "drops" / "orders.csv").touch()
    assert once(settings, kafka).replace("2 files", "1 file") == output
    assert totals(states(kafka, name)) == [good, bad, repeated]
    event_ids = published(kafka, name)
    assert len(event_ids) == len(set(event_ids)) == good
    assert len(dead_letters(kafka, name)) == bad


def test_records_carry_their_key_and_dead_letters_their_bytes_and_place(tmp_path: Path, kafka: KafkaSettings, name: str) -> None:
    settings = write_settings(tmp_path, name)
    huge = b"2,2026-01-01," + b"x" * (5 * 1024 * 1024) + b",1\n"
    (tmp_path / "drops" / "orders.csv").write_bytes(
        b"order_no,changed_at,customer_no,total\n1,2026-01-01,7,12.5\n" + huge + b"3,2026-01-01,\xff,1\n4,2026-01-01,8,1\n"
    )
    once(settings, kafka)
    good = {record["key"]: record for record in records(kafka, "touchline.erp", name)}
    assert sorted(good) == [b"erp_party:sap/7", b"erp_party:sap/8"]
    assert good[b"erp_party:sap/7"]["amount"] == 125_000
    letters = {letter["origin"]: letter for letter in records(kafka, DEAD_LETTERS, name)}
    assert letters["orders:orders.csv:3"]["payload"] == huge
    assert letters["orders:orders.csv:3"]["reason"] == "missing_identifier"
    assert "erp_party (too_long)" in letters["orders:orders.csv:3"]["detail"]
    assert letters["orders:orders.csv:4"]["payload"] == b"3,2026-01-01,\xff,1\n"
    assert letters["orders:orders.csv:4"]["reason"] == "invalid_utf8"


def test_running_connector_reads_new_files_and_ends_within_ten_seconds_of_sigterm(
    tmp_path: Path, kafka: KafkaSettings, name: str
) -> None:
    settings = write_settings(tmp_path, name)
    process = connect(settings, kafka)
    try:
        expected = 0
        for number in range(3):
            drop = tmp_path / "drops" / f"writing-{number}"
            expected += write_orders(drop, number * 1_000 + 1, 1_000)[0]
            drop.rename(tmp_path / "drops" / f"orders-{number}.csv")
            wait_for_streams(kafka, name, number + 1)
        process.send_signal(signal.SIGTERM)
        code, out, err = wait_for_exit(process, 10)
    finally:
        process.kill()
    assert code == 0
    assert f"{expected:,} published" in out
    assert "/metrics" in err
    assert len(published(kafka, name)) == expected == totals(states(kafka, name))[0]


def wait_for_streams(kafka: KafkaSettings, name: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(states(kafka, name)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_cursor_is_saved_only_after_all_records_before_it_are_acknowledged(
    tmp_path: Path, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects: list[str] = []
    send, acknowledged = Publisher.send, Publisher.flush

    def recorded_send(self: Publisher, topic: str, key: bytes, value: bytes) -> None:
        effects.append(topic)
        send(self, topic, key, value)

    def recorded_acknowledged(self: Publisher) -> None:
        acknowledged(self)
        effects.append("acknowledged")

    monkeypatch.setattr(Publisher, "send", recorded_send)
    monkeypatch.setattr(Publisher, "flush", recorded_acknowledged)
    settings = write_settings(tmp_path, name)
    write_orders(tmp_path / "drops" / "orders.csv", 49, 2)
    runner = Runner(open_connector("files", settings, {}), kafka, threading.Event(), lambda _, __: effects.append("shown"))
    runner.run_once()
    runner.close()
    assert effects == ["touchline.erp", DEAD_LETTERS, "acknowledged", CONNECTOR_STATE, "acknowledged", "shown"]


@pytest.mark.parametrize(("seconds", "rounds"), [(30.0, 1), (0.0, 2)])
def test_idle_source_saves_its_state_again_at_the_interval_and_not_each_round(
    tmp_path: Path, kafka: KafkaSettings, name: str, monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int
) -> None:
    monkeypatch.setattr("connectors.runtime.checkpoints.FRESH_SECONDS", seconds)
    settings = write_settings(tmp_path, name)
    for number in (1, 2):
        write_orders(tmp_path / "drops" / f"orders{number}.csv", 10 * number, 2)
    once(settings, kafka)
    before = list(records(kafka, CONNECTOR_STATE, name))
    runner = Runner(open_connector("files", settings, {}), kafka, threading.Event(), lambda _, __: None)
    for _ in range(2):
        runner.run_once()
    runner.close()
    again = list(records(kafka, CONNECTOR_STATE, name))[len(before) :]
    assert len(again) == rounds
    times = [each.pop("last_success_at") for each in (before[-1], *again)]
    assert times == sorted(set(times))
    assert [before[-1]] * rounds == again


def test_check_prints_one_line_for_right_and_wrong_settings(tmp_path: Path, kafka: KafkaSettings, name: str) -> None:
    settings = write_settings(tmp_path, name)
    code, out, _ = wait_for_exit(connect(settings, kafka, "--check"))
    assert (code, out.count("\n")) == (0, 1)
    assert f"{name}: fine: 1 feed, 0 files" in out
    settings.write_text(settings.read_text().replace("id(customer_no)", "id(customer)"))
    code, out, err = wait_for_exit(connect(settings, kafka, "--check"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "feeds.orders.map.identifiers.erp_party: reads column customer, which `columns` does not list" in err


def test_preview_shows_touchpoints_and_rejections_and_publishes_nothing(tmp_path: Path, kafka: KafkaSettings, name: str) -> None:
    settings = write_settings(tmp_path, name)
    write_orders(tmp_path / "drops" / "orders.csv", 49, 2)
    code, out, _ = wait_for_exit(connect(settings, kafka, "--preview", "5"))
    assert code == 0
    assert "order.placed" in out
    assert "wrong_type" in out
    assert published(kafka, name) == []
    assert states(kafka, name) == {}


def test_missing_kafka_ends_once_after_the_wait_with_one_line(tmp_path: Path, name: str, kafka: KafkaSettings) -> None:
    nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    process = connect(write_settings(tmp_path, name), nowhere, "--once", TOUCHLINE_WAIT_SECONDS="7")
    code, out, err = wait_for_exit(process)
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    lines = err.splitlines()
    assert lines[0] == f"touchline connect {name}: Kafka 127.0.0.1:1 (TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS)"
    assert "waiting for Kafka at 127.0.0.1:1" in lines[2]
    assert lines[-1].startswith("touchline: Kafka at 127.0.0.1:1 did not answer within 7 s: ")
    assert "touchline up" in lines[-1]


def test_connector_waits_for_kafka_until_it_is_stopped(tmp_path: Path, name: str, kafka: KafkaSettings) -> None:
    nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    process = connect(write_settings(tmp_path, name), nowhere, TOUCHLINE_WAIT_SECONDS="0")
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        assert any("WARNING touchline.connect waiting for Kafka at 127.0.0.1:1" in line for line in lines)
        assert process.poll() is None
        process.terminate()
        code, _, err = wait_for_exit(process, 10)
    finally:
        process.kill()
    assert (code, err) == (0, "")


def test_saved_states_hold_their_cursor_as_json(tmp_path: Path, kafka: KafkaSettings, name: str) -> None:
    settings = write_settings(tmp_path, name)
    write_orders(tmp_path / "drops" / "orders.csv", 1, 10)
    once(settings, kafka)
    [state] = states(kafka, name).values()
    assert sorted(json.loads(state.cursor)) == ["done", "mtime_ns", "rows", "sha256", "size"]
