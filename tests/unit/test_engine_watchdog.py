"""Watchdog without a broker: when a partition counts as stuck."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from faust.types.tuples import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.transport import Consumer
from streams.engine.watchdog import Progress, WatchedItem, update_progress

A, B = WatchedItem("join", "touchline.resolved", 3), WatchedItem("join", "touchline.resolved", 4)
CHECKS = st.lists(st.dictionaries(st.sampled_from([A, B]), st.integers(0, 2)), max_size=40)


@given(CHECKS)
def test_count_is_the_number_of_checks_in_a_row_at_the_same_offset(checks: list[dict[WatchedItem, int]]) -> None:
    progress: dict[WatchedItem, Progress] = {}
    for positions in checks:
        progress = update_progress(progress, positions)
    assert set(progress) == set(checks[-1] if checks else {})
    for watched, each in progress.items():
        earlier = [positions.get(watched) for positions in reversed(checks)]
        in_a_row = next((index for index, position in enumerate(earlier) if position != each.position), len(earlier))
        assert each.unchanged_checks == in_a_row - 1


def test_check_without_an_answer_from_kafka_resets_the_count() -> None:
    progress: dict[WatchedItem, Progress] = {}
    for positions in ({A: 7}, {A: 7}, {A: 7}, {}, {A: 7}, {A: 7}):
        progress = update_progress(progress, positions)
    assert progress == {A: Progress(7, unchanged_checks=1)}


@pytest.mark.parametrize(("consumer", "errors"), [(StockConsumer, 1), (Consumer, 0)], ids=["stock", "ours"])
def test_record_after_a_long_silence_is_not_reported_as_stuck(consumer: type[Any], errors: int) -> None:
    """The check runs between fetch and processing; the last event came 390 seconds before."""
    tp, reported = TP("touchline.erp", 0), list[str]()
    state = SimpleNamespace(timestamp=399_900.0, highwater=11, position=10)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    client = SimpleNamespace(
        _fetcher=SimpleNamespace(_subscriptions=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))
    )
    thread: Any = AIOKafkaConsumerThread.__new__(AIOKafkaConsumerThread)
    thread._consumer, thread.time_started, thread.tp_last_committed_at = client, 0.0, {tp: 10.0}
    thread.tp_fetch_request_timeout_secs = thread.tp_stream_timeout_secs = thread.tp_commit_timeout_secs = 300.0
    thread.log = SimpleNamespace(error=lambda text, *_: reported.append(text))
    thread.consumer = SimpleNamespace(
        app=SimpleNamespace(
            monitor=SimpleNamespace(stream_inbound_time={tp: 10.0}),
            topics=SimpleNamespace(acks_enabled_for=lambda _: True),
            conf=SimpleNamespace(stream_processing_timeout=300.0, broker_commit_livelock_soft_timeout=300.0),
        )
    )
    consumer.verify_event_path(SimpleNamespace(_thread=thread), 400.0, tp)
    assert len(reported) == errors
