"""An idle worker writes nothing at WARNING or above, however long it stays idle."""

import re
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.harness.waiting import eventually
from tests.harness.workers import get_page, is_drained, make_order, publish_orders, running_worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120), pytest.mark.usefixtures("own_topics")]

SHORT_TIMEOUTS = """
import faust
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from streams import pipeline
from streams.engine import transport
from streams.engine.worker import App
build_app = pipeline.build_app
def build_with_short_timeouts(*arguments, **named):
    app = build_app(*arguments, **named)
    app.conf.stream_processing_timeout = app.conf.broker_commit_livelock_soft_timeout = 3.0
    return app
pipeline.build_app = build_with_short_timeouts
{patch}
from deploy.cli import main
main()
"""
STOCK_CHECKS = """
transport.Consumer.verify_event_path = StockConsumer.verify_event_path
App.topic = lambda self, *topics, **options: faust.App.topic(self, *topics, **{**options, "acks": True})
"""
IDLE_SECONDS = 12  # Faust checks every 2.5 s and reports streams without events for 3 s


@pytest.mark.parametrize(("patch", "reported"), [("", "nothing"), (STOCK_CHECKS, "errors")], ids=["ours", "stock"])
def test_idle_worker_logs_nothing_at_warning_or_above(tmp_path: Path, patch: str, reported: str) -> None:
    run, log = f"run-{uuid4().hex[:8]}", tmp_path / "log"
    program = sys.executable, "-c", SHORT_TIMEOUTS.replace("{patch}", patch)
    with running_worker(run, log, program):
        eventually(lambda: get_page(log, "ready")[0] == 200)
        publish_orders([make_order(number, run, number % 100) for number in range(1_000)])
        eventually(is_drained)
        begin = len(log.read_text())
        time.sleep(IDLE_SECONDS)
        idle = log.read_text()[begin:]
    found = re.findall(r"^.*\b(?:WARNING|ERROR|CRITICAL)\b.*$", idle, re.MULTILINE)
    assert ("errors" if found else "nothing") == reported, found[:3]
