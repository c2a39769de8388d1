"""`touchline connect intake` while a real Kafka hangs: no event is acknowledged."""

import json
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from deploy.local import state
from deploy.local.state import Stack
from schemas.records.touchpoint import event_id
from tests.harness.waiting import eventually
from tests.live.intake.instance import WRITE, create_instance

pytestmark = pytest.mark.integration


def test_nothing_is_acknowledged_while_kafka_hangs(own_topics: Stack, tmp_path: Path) -> None:
    intake = create_instance(tmp_path)
    stack = state.read()
    assert stack
    broker = psutil.Process(stack.service("kafka").pid)
    body = json.dumps({"userId": "u1", "messageId": "m1"}).encode()
    with intake.running():
        broker.suspend()
        try:
            assert intake.post("/v1/page", body, WRITE) == 503
        finally:
            broker.resume()
        eventually(lambda: intake.post("/v1/page", body, WRITE) == 200, 60)
    assert {UUID(bytes=one["event_id"]) for one in intake.touchpoints()} == {event_id("app", "app:m1", "")}
