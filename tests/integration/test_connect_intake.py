"""`touchline connect intake` while the real Kafka hangs: nobody is told that something is kept."""

import json
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from deploy.local import state
from deploy.local.state import Stack
from schemas.records.touchpoint import event_id
from tests.harness.waiting import eventually
from tests.live.intake.instance import WRITE, instance

pytestmark = pytest.mark.integration


def test_while_kafka_does_not_answer_nothing_is_acknowledged(own_topics: Stack, tmp_path: Path) -> None:
    intake = instance(tmp_path)
    found = state.read()
    assert found
    broker = psutil.Process(found.service("kafka").pid)
    body = json.dumps({"userId": "u1", "messageId": "m1"}).encode()
    with intake.running():
        broker.suspend()
        try:
            assert intake.post("/v1/page", body, WRITE) == 503
        finally:
            broker.resume()
        eventually(lambda: intake.post("/v1/page", body, WRITE) == 200, 60)
    assert {UUID(bytes=one["event_id"]) for one in intake.touchpoints()} == {event_id("app", "app:m1", "")}
